"""One platform for all tests of the documentation: `make up` on a small sample."""

from collections.abc import Iterator

import pytest

from accident_reco_tests.support.running import Running, environment


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The platform, ready; `screen` is the output of its first start."""
    # Commands of the documentation train between their requests, which use one token.
    quick = {"ACCIDENT_RECO_ACCESS_TOKEN_MINUTES": "60", "ACCIDENT_RECO_RETRAIN_IN_ONE_PROCESS": "true"}
    platform = Running(environment(tmp_path_factory.mktemp("up") / "home", **quick))
    try:
        platform.await_text(r"ready after \d+ s", 600)
        yield platform
    finally:
        platform.stop()
