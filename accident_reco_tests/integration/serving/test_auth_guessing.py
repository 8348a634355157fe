"""Password guessing over real HTTP: responses reveal no accounts, and failures lead to growing delays."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from accident_reco_tests.support.accounts import running_auth
from serving.auth.login import compute_backoff


def test_unknown_user_and_wrong_password_are_indistinguishable(tmp_path: Path) -> None:
    """Same status, same text, same work."""
    with running_auth(tmp_path) as auth:
        texts: dict[str, set[str]] = {"admin": set(), "unknown": set()}
        seconds: dict[str, list[float]] = {"admin": [], "unknown": []}
        for _ in range(4):
            for name in texts:
                started = time.perf_counter()
                answer = auth.client.post("/token", data={"username": name, "password": "wrong password"})
                seconds[name].append(time.perf_counter() - started)
                assert answer.status_code == 401
                texts[name].add(answer.json()["detail"])
        assert texts["admin"] == texts["unknown"] == {"Wrong user name or password."}
        slower, faster = sorted((statistics.median(times) for times in seconds.values()), reverse=True)
        # Both hash once; without hashing the response would come an order of magnitude sooner.
        assert slower < 3 * faster


def test_failed_logins_block_the_account(tmp_path: Path) -> None:
    """After five failures logins are blocked, also with the right password, also for unknown accounts."""
    with running_auth(tmp_path) as auth:
        for name in ("admin", "unknown"):
            for _ in range(5):
                assert auth.client.post("/token", data={"username": name, "password": "x"}).status_code == 401
            blocked = auth.client.post("/token", data={"username": name, "password": auth.password})
            assert blocked.status_code == 429
            assert int(blocked.headers["retry-after"]) >= 1


def test_parallel_failures_are_counted(tmp_path: Path) -> None:
    """Twenty parallel attempts are blocked like sequential ones, but for those in progress."""
    with running_auth(tmp_path) as auth, ThreadPoolExecutor(20) as pool:

        def guess(number: int) -> int:
            return httpx.post(
                f"{auth.url}/token", data={"username": "admin", "password": f"guess {number}"}, timeout=30
            ).status_code

        codes = sorted(pool.map(guess, range(20)))
    assert set(codes) == {401, 429}
    assert codes.count(401) <= 7


@pytest.mark.parametrize(
    ("kind", "failures", "seconds"),
    [
        ("account", 1, 0),
        ("account", 4, 0),
        ("account", 5, 1),
        ("account", 7, 4),
        ("account", 40, 900),
        ("address", 19, 0),
        ("address", 20, 1),
        ("address", 10_000, 900),
    ],
)
def test_backoff(kind: str, failures: int, seconds: float) -> None:
    """Zero at first, then doubling up to 15 minutes."""
    assert compute_backoff(kind, failures) == seconds
