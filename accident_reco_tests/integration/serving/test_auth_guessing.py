"""Password guessing over real HTTP: responses reveal no accounts, and failures lead to growing delays."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select, update

from accident_reco.storage import accounts
from accident_reco.storage.tables.accounts import login_failures
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.accounts import running_auth
from serving.auth.login import build_failure_keys, compute_backoff


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
        ("pair", 1, 0),
        ("pair", 4, 0),
        ("pair", 5, 1),
        ("pair", 7, 4),
        ("pair", 40, 900),
        ("known", 5, 1),
        ("known", 40, 30),
        ("account", 99, 0),
        ("account", 100, 1),
        ("account", 10_000, 30),
        ("address", 19, 0),
        ("address", 20, 1),
        ("address", 10_000, 900),
    ],
)
def test_backoff(kind: str, failures: int, seconds: float) -> None:
    """Zero at first, then doubling up to 15 minutes; an account as such is never blocked for long."""
    assert compute_backoff(kind, failures) == seconds


def test_nobody_can_lock_an_admin_out(tmp_path: Path) -> None:
    """Failures elsewhere do not block the admin here, nor those of others here once the admin has logged in."""
    with running_auth(tmp_path, trusted_proxies="127.0.0.1") as auth:
        warehouse = Warehouse(auth.settings.database)
        attacker, home = (build_failure_keys("admin", address) for address in ("192.0.2.1", "127.0.0.1"))

        def fail(keys: dict[str, str], times: int) -> None:
            for _ in range(times):
                accounts.record_failure(warehouse, {key: partial(compute_backoff, kind) for kind, key in keys.items()})

        fail(attacker, 90)
        assert auth.login(), "five failures from elsewhere block the account here"
        fail(attacker, 200)
        assert accounts.blocked_for(warehouse, [attacker["account"]]) > 0
        assert auth.login(), "the account as such is blocked where it is at home"
        fail({"address": home["address"]}, 200)
        assert auth.login(), "others at the same address block an account that is at home there"
        for _ in range(12):
            auth.client.post("/token", data={"username": "admin", "password": "wrong"})
        blocked = auth.client.post("/token", data={"username": "admin", "password": auth.password})
        assert blocked.status_code == 429
        assert int(blocked.headers["retry-after"]) <= 30
        warehouse.close()


def test_where_an_account_is_at_home_is_forgotten(tmp_path: Path) -> None:
    """Rows of old logins and of old failures are deleted, each after its time."""
    with running_auth(tmp_path) as auth:
        warehouse = Warehouse(auth.settings.database)
        auth.login()
        key = build_failure_keys("admin", "127.0.0.1")["pair"]
        assert accounts.is_known(warehouse, key)
        for age, known in ((timedelta(days=2), True), (timedelta(days=91), False)):
            with warehouse.begin() as connection:
                connection.execute(update(login_failures).values(updated_at=datetime.now(UTC) - age))
            assert accounts.is_known(warehouse, key) is known
            accounts.record_failure(warehouse, {"address:other": lambda _: 0.0})
            with warehouse.connect() as connection:
                keys = set(connection.execute(select(login_failures.c.key)).scalars())
            assert ("known:" + key in keys) is known
        warehouse.close()
