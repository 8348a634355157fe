"""What the tests of the loop's Dagster side share."""

import dagster as dg
import pytest

from accident_reco.defs.resources import Platform
from accident_reco_tests.defs.small_loop import definitions_of, promote


@pytest.fixture
def platform(tmp_path, monkeypatch):
    """A home with a champion of the accident model whose reference profile is known."""
    monkeypatch.setenv("ACCIDENT_RECO_RETRAIN_COOLDOWN_SECONDS", "0")
    monkeypatch.setenv("ACCIDENT_RECO_DRIFT_SAMPLE_ROWS", "100")
    made = Platform(home=str(tmp_path))
    made.warehouse.upgrade()
    promote(made, 1)
    yield made
    made.warehouse.close()


@pytest.fixture
def definitions(platform):
    return definitions_of(platform)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral
