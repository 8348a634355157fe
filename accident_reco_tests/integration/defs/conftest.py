"""Fixtures of the tests of the loop's Dagster side."""

import dagster as dg
import pytest

from accident_reco.defs.resources import Platform
from accident_reco_tests.support.small_loop import build_loop_definitions, promote


@pytest.fixture
def platform(tmp_path, monkeypatch):
    """A home with a champion of the accident model whose reference profile is known."""
    monkeypatch.setenv("ACCIDENT_RECO_RETRAIN_COOLDOWN_SECONDS", "0")
    monkeypatch.setenv("ACCIDENT_RECO_DRIFT_SAMPLE_ROWS", "100")
    platform = Platform(home=str(tmp_path))
    platform.warehouse.upgrade()
    promote(platform, 1)
    yield platform
    platform.warehouse.close()


@pytest.fixture
def definitions(platform):
    return build_loop_definitions(platform)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral
