"""Fixtures of the integration tests: plain log lines, settings with a home, a migrated warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> Iterator[None]:
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()],
        cache_logger_on_first_use=False,
    )
    yield
    structlog.reset_defaults()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home without authentication; small HTML reports."""
    return Settings.load(home=tmp_path, auth_required=False, drift_sample_rows=100, metrics_public=True)


@pytest.fixture
def warehouse(settings: Settings) -> Iterator[Warehouse]:
    """The migrated warehouse of `settings`."""
    warehouse = Warehouse(settings.database)
    warehouse.upgrade()
    yield warehouse
    warehouse.close()
