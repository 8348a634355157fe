"""One browser for all tests of the console in a process, and a platform for each module, whose state no other sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from accident_reco_tests.support.browser import chromium
from accident_reco_tests.support.console import ConsolePlatform, running_console


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsolePlatform]:
    """Services with a champion of each model, and the accounts `admin` and `ada`."""
    with running_console(tmp_path_factory.mktemp("console")) as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Chromium; each test opens contexts of its own in it (`platform.person`)."""
    with chromium() as opened:
        yield opened
