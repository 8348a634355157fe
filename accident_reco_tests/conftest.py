"""What every test may use: the real data beside the checkout, where it exists."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from accident_reco_tests.support.signals import restore_interrupts

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = ROOT.parent / "shared" / "data"
LONGEST = (
    "test_whole_loop.py",
    "test_up.py",
    "test_stack_loop.py",
    "test_one_model.py",
    "test_wheel.py",
    "test_backfill.py",
    "test_containers.py",
    "test_workers.py",
    "test_dvc.py",
    "test_mlflow.py",
    "test_third_model.py",
    "test_tracking.py",
    "test_contract.py",
    "test_daemon_killed.py",
    "test_process.py",
    "test_run_queue.py",
)
"""Files that take longest: begun first, so that no core waits for the last of them. Those that mostly wait (for alerts,
ticks and timeouts) alternate with those that compute, so that two workers seldom wait at the same time."""


def pytest_configure() -> None:
    """Before workers and servers are started, which inherit how signals are handled."""
    restore_interrupts()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest files first; everything else keeps its order."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))


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
