"""What every test may use: the real data beside the checkout, where it exists."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = ROOT.parent / "shared" / "data"


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
