"""One platform for all tests of the documentation: `make up` on a small sample."""

from collections.abc import Iterator

import pytest

from accident_reco_tests.support.running import Running, environment


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The platform, ready; `screen` is the output of its first start."""
    platform = Running(environment(tmp_path_factory.mktemp("up") / "home"))
    try:
        platform.await_text(r"ready after \d+ s", 600)
        yield platform
    finally:
        platform.stop()
