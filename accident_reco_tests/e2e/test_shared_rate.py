"""Rates that processes share by Redis, and what holds while it is away."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from accident_reco.launch.processes import LOOPBACK, Children, free_port
from accident_reco.settings import Settings, SettingsError
from accident_reco_tests.support.live import wait_for
from accident_reco_tests.support.redis import redis_answers, start_redis
from serving.common import shared_rate
from serving.common.shared_rate import SharedRate

pytestmark = pytest.mark.e2e


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[tuple[str, Children]]:
    """URL of a Redis, and its process."""
    (tmp_path / "logs").mkdir()
    children, port = Children({}, tmp_path / "logs"), free_port()
    children.await_ready({"redis": start_redis(children, tmp_path / "redis", port, "secret")}, 10)
    yield f"redis://:secret@{LOOPBACK}:{port}/0", children
    children.stop()
    wait_for(lambda: not redis_answers(port))


def acquire(rates: list[SharedRate], identities: str) -> list[float]:
    """Waits of requests, each to the next process."""

    async def ask() -> list[float]:
        try:
            return [await rates[n % len(rates)].acquire(name) for n, name in enumerate(identities)]
        finally:
            for rate in rates:
                await rate.close()

    return asyncio.run(ask())


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose cores are all taken: a check may take its time."""
    monkeypatch.setattr(shared_rate, "TIMEOUT_SECONDS", 5.0)


@pytest.mark.usefixtures("patient")
def test_processes_share_a_burst_and_each_identity_has_its_own(redis: tuple[str, Children]) -> None:
    """Three requests pass two processes together; the wait is what one takes to refill, and is not lengthened."""
    rates = [SharedRate(redis[0], 0.5, 3) for _ in range(2)]
    waits = acquire(rates, "aaaaab")
    assert [wait > 0 for wait in waits] == [False, False, False, True, True, False]
    assert all(1.0 < wait <= 2.0 for wait in waits[3:5])
    again = acquire(rates, "a")
    assert again[0] <= waits[4]
    assert rates[0].problem is None


@pytest.mark.usefixtures("patient")
def test_a_rest_refills(redis: tuple[str, Children]) -> None:
    """After the wait that was stated the next request passes."""
    rates = [SharedRate(redis[0], 50, 1)]
    first, second = acquire(rates, "aa")
    assert first == 0 < second <= 0.02
    wait_for(lambda: acquire(rates, "a") == [0.0], seconds=2)


def test_without_redis_nothing_waits_and_it_is_not_asked_for_a_while(
    redis: tuple[str, Children], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that hangs costs three requests the limit of a check; the others do not ask until it is asked again."""
    url, children = redis
    (server,) = children.started
    monkeypatch.setattr(shared_rate, "PAUSE_SECONDS", 0.0)
    rate = SharedRate(url, 0.01, 1)
    wait_for(lambda: acquire([rate], "a")[0] > 0)
    monkeypatch.setattr(shared_rate, "PAUSE_SECONDS", 60.0)
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        for _ in range(shared_rate.MAX_FAILURES):
            assert acquire([rate], "a") == [0.0]
        began = time.monotonic()
        assert acquire([rate], "a" * 200) == [0.0] * 200
        assert time.monotonic() - began < 5
        assert rate.problem == "Redis does not respond; rates hold for each process"
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert acquire([rate], "a") == [0.0]
    monkeypatch.setattr(shared_rate, "PAUSE_SECONDS", 0.0)
    rate._asks_again = 0.0
    wait_for(lambda: acquire([rate], "a")[0] > 0)
    assert rate.problem is None


@pytest.mark.parametrize("url", ["http://x", "redis://"])
def test_a_url_of_another_kind_is_refused_without_its_password(url: str, tmp_path: Path, monkeypatch) -> None:
    """At the start, by name; what it contains may be a secret."""
    monkeypatch.setenv("ACCIDENT_RECO_RATE_REDIS_URL", url)
    with pytest.raises(SettingsError, match="RATE_REDIS_URL: ") as error:
        Settings.load(home=tmp_path)
    assert url not in str(error.value)
