"""What every test may use: the real data beside the checkout, where it exists."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from accident_reco_tests.support.signals import restore_interrupts

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = ROOT.parent / "shared" / "data"
LONGEST = (
    "e2e/test_whole_loop.py",
    "docs/test_up.py",
    "e2e/test_stack_loop.py",
    "e2e/test_one_model.py",
    "e2e/test_third_model.py",
    "e2e/test_wheel.py",
    "e2e/test_workers.py",
    "e2e/test_containers.py",
    "e2e/test_dvc.py",
    "e2e/test_backfill.py",
    "accidents/test_tracking.py",
    "e2e/test_mlflow.py",
    "e2e/test_spark.py",
    "serving/test_contract.py",
    "e2e/test_dashboards.py",
    "console/test_accidents.py",
    "console/test_drift.py",
    "e2e/test_backup.py",
    "e2e/test_page_guard.py",
    "console/test_models.py",
    "defs/test_run_queue.py",
    "defs/test_daemon_killed.py",
    "console/test_core_pages.py",
    "defs/test_model_loop.py",
    "serving/test_process.py",
    "movies/test_loop.py",
    "defs/test_run_workers.py",
    "serving/test_rollout_processes.py",
)
"""Files that take a quarter of a minute or more: begun first, so that no core waits for the last of them. Those that
mostly wait (for alerts, ticks and timeouts) alternate with those that compute, so that two workers seldom wait at the
same time."""


def pytest_configure() -> None:
    """Before workers and servers are started, which inherit how signals are handled."""
    restore_interrupts()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest files first; everything else keeps its order."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(f"{item.path.parent.name}/{item.path.name}", len(LONGEST)))


@pytest.fixture(autouse=True)
def _tracker_of_this_test_alone() -> Iterator[None]:
    """dagster-mlflow sets the tracker's address for the process in which a training is logged."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    if before is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = before


def _real(folder: str) -> Path:
    path = REAL_DATA / folder
    if not path.is_dir():
        pytest.skip(f"real data not at hand: ../shared/data/{folder} does not exist")
    return path


@pytest.fixture(scope="session")
def baac_dir() -> Path:
    """Directory of real BAAC files (skips where absent)."""
    return _real("baac")


@pytest.fixture(scope="session")
def movielens_dir() -> Path:
    """Directory of the real ml-latest-small files (skips where absent)."""
    return _real("movielens/ml-latest-small")
