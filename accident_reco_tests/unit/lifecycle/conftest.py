"""A directory as model store and a migrated SQLite warehouse for tests of the lifecycle."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from accident_reco.lifecycle.store import ModelStore
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty model store in `tmp_path / "store"`."""
    return ModelStore(open_store((tmp_path / "store").as_uri()))


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database to copy: migrations take longer than most of what is tested on it."""
    path = tmp_path_factory.mktemp("migrated") / "warehouse.db"
    warehouse = Warehouse(f"sqlite:///{path}")
    warehouse.upgrade()
    warehouse.close()
    return path


@pytest.fixture
def warehouse(tmp_path: Path, migrated_database: Path) -> Iterator[Warehouse]:
    """An empty warehouse in `tmp_path`."""
    path = shutil.copy(migrated_database, tmp_path / "warehouse.db")
    warehouse = Warehouse(f"sqlite:///{path}")
    yield warehouse
    warehouse.close()
