"""Four predict processes behind HAProxy with one store, PostgreSQL and Redis, as in how-to/scale-serving.md."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from accident_reco.launch.home import ROOT, service_environment
from accident_reco.launch.processes import LOOPBACK, Children, free_port
from accident_reco.launch.programs import debian, script
from accident_reco_tests.e2e.conftest import Postgres
from accident_reco_tests.support.live import wait_for
from accident_reco_tests.support.real_accidents import real_bundle
from accident_reco_tests.support.redis import start_redis
from accident_reco_tests.support.toy import promote

pytestmark = pytest.mark.e2e

REPLICAS = 4
BURST = 50
CLIENTS = 4
ROWS = [{"catu": 3, "catv": 7, "an": 2024}] * 20


@dataclass(frozen=True)
class Fleet:
    """The proxy, the replicas by name, and their home and processes."""

    url: str
    replicas: dict[str, str]
    home: Path
    children: Children

    def champions(self) -> list[str]:
        """The version that each replica serves."""
        return [httpx.get(f"{url}/models/accidents").json()["champion"] for url in self.replicas.values()]


@pytest.fixture(scope="module")
def fleet(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("fleet")
    launcher = postgres.prepare_platform(home)
    promote(home, real_bundle(rounds=5))
    (home / "logs").mkdir(exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ACCIDENT_RECO_")}
    children, password = Children(clean, home / "logs"), "shared"
    ports = {f"predict{n}": free_port() for n in range(1, REPLICAS + 1)}
    redis, proxy = free_port(), free_port()
    try:
        children.await_ready({"redis": start_redis(children, home / "redis", redis, password)}, 10)
        for name, port in ports.items():
            settings = {
                # A machine of its own: nothing on its disk is shared.
                "HOME": home / name,
                "STORE_URL": launcher.store,
                "PREDICT_PORT": port,
                "MODELS": "accidents",
                "AUTH_REQUIRED": "false",
                "TRUSTED_PROXIES": LOOPBACK,
                "DRAIN_SECONDS": 2,
                "RATE_PER_SECOND": 5,
                "RATE_BURST": BURST,
                "RATE_REDIS_URL": f"redis://:{password}@{LOOPBACK}:{redis}/0",
            }
            own = service_environment(launcher, "predict", {})
            stated = {f"ACCIDENT_RECO_{key}": str(value) for key, value in settings.items()}
            children.start(name, [script("python"), "-m", "serving.predict"], environ=own | stated)
        urls = {name: f"http://{LOOPBACK}:{port}" for name, port in ports.items()}
        addresses = {f"PREDICT_{n}": f"{LOOPBACK}:{port}" for n, port in enumerate(ports.values(), 1)}
        command = [debian("haproxy"), "-db", "-f", str(ROOT / "deploy" / "haproxy" / "haproxy.cfg")]
        children.start("haproxy", command, environ=addresses | {"PREDICT_PROXY": f"{LOOPBACK}:{proxy}"})
        ready = {name: f"{url}/readyz" for name, url in urls.items()}
        children.await_ready(ready | {"haproxy": f"http://{LOOPBACK}:{proxy}/readyz"}, 60)
        yield Fleet(f"http://{LOOPBACK}:{proxy}", urls, home, children)
    finally:
        children.stop()


@dataclass(frozen=True)
class Answer:
    """A response: when it was requested and received, its status (0: none), and the versions and scores in it."""

    sent: float
    received: float
    status: int
    versions: frozenset[str] = frozenset()
    scores: frozenset[float] = frozenset()


@dataclass
class Load:
    """Clients that send one request after the other, each as an address of its own, so that no rate stops them."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def send(self, client_number: int) -> None:
        with httpx.Client(base_url=self.url, timeout=10) as client:
            for n in count():
                if self._stopping.is_set():
                    return
                address = {"X-Forwarded-For": f"10.{client_number}.{n // 5_000}.{n // 20 % 250}"}
                self.answers.append(ask(client, address))

    def stop(self) -> None:
        self._stopping.set()


def ask(client: httpx.Client, headers: dict[str, str]) -> Answer:
    sent = time.monotonic()
    try:
        response = client.post("/predict/accidents", json={"records": ROWS}, headers=headers)
    except httpx.TransportError:
        return Answer(sent, time.monotonic(), 0)
    received = time.monotonic()
    if response.status_code != 200:
        return Answer(sent, received, response.status_code)
    body: dict[str, Any] = response.json()
    rows = [body, *body["predictions"]]
    versions = frozenset(row["version"] for row in rows if "version" in row)
    return Answer(sent, received, 200, versions, frozenset(row["probability"] for row in body["predictions"]))


@contextmanager
def loaded(fleet: Fleet) -> Iterator[Load]:
    """Requests by several clients during the block, at least some before and after what it does."""
    load = Load(fleet.url)
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(load.send, n) for n in range(CLIENTS)]
        try:
            wait_for(lambda: len(load.answers) >= 20)
            yield load
            enough = len(load.answers) + 40
            wait_for(lambda: len(load.answers) >= enough)
        finally:
            load.stop()
        for client in clients:
            client.result(20)


def test_a_promotion_reaches_every_replica_and_no_answer_is_mixed(fleet: Fleet) -> None:
    """Within 2 s under load. Each answer is of one version in all its rows, and no later one is of the old version."""
    (old,) = set(fleet.champions())
    with loaded(fleet) as load:
        new = promote(fleet.home, real_bundle(rounds=9)).version
        moved = time.monotonic()
        wait_for(lambda: set(fleet.champions()) == {new})
        reached = time.monotonic()
    # What clients see: asking four replicas one after the other takes longer on a machine without a free core.
    assert max(answer.sent for answer in load.answers if answer.versions == {old}) - moved < 2
    assert Counter(answer.status for answer in load.answers).keys() == {200}
    assert {answer.versions for answer in load.answers} == {frozenset({old}), frozenset({new})}
    scores = {answer.versions: answer.scores for answer in load.answers}
    assert len(set(scores.values())) == 2
    assert all(len(answer.scores) == 1 and answer.scores == scores[answer.versions] for answer in load.answers)
    assert {answer.versions for answer in load.answers if answer.sent > reached} == {frozenset({new})}


def test_rates_are_shared_until_redis_is_away(fleet: Fleet) -> None:
    """One address gets one burst from all replicas together; without Redis, one from each, and never an error."""

    def statuses(address: str) -> Counter[int]:
        with httpx.Client(timeout=10) as client:
            began = time.monotonic()
            found: Counter[int] = Counter()
            for n in range(3 * BURST):
                url = list(fleet.replicas.values())[n % REPLICAS]
                response = client.post(
                    f"{url}/predict/accidents", json={"records": ROWS[:1]}, headers={"X-Forwarded-For": address}
                )
                found[response.status_code] += 1
                assert response.status_code == 200 or int(response.headers["retry-after"]) >= 1
            refilled = 5 * (time.monotonic() - began)
        assert found.keys() <= {200, 429}
        return Counter({"passed": found[200], "refilled": int(refilled) + 1})

    shared = statuses("10.251.0.1")
    assert BURST <= shared["passed"] <= BURST + shared["refilled"]
    fleet.children.kill("redis")
    assert statuses("10.251.0.2")["passed"] == 3 * BURST


def test_the_proxy_answers_no_metrics(fleet: Fleet) -> None:
    """They would be those of some replica."""
    assert httpx.get(f"{fleet.url}/metrics").status_code == 404


def test_a_stopped_replica_costs_nothing(fleet: Fleet) -> None:
    """It reports not ready before it stops listening, and finishes what it has begun."""
    with loaded(fleet) as load:
        fleet.children.end("predict4", 15)
    assert {answer.status for answer in load.answers} == {200}


def test_a_killed_replica_costs_no_more_than_what_it_had_begun(fleet: Fleet) -> None:
    """SIGKILL: requests that were sent before it may fail, one per client at most; none that was sent after it."""
    with loaded(fleet) as load:
        fleet.children.kill("predict1")
        killed = time.monotonic()
    failed = [answer for answer in load.answers if answer.status != 200]
    assert len(failed) <= CLIENTS
    assert {answer.status for answer in failed} <= {0, 502, 503}
    assert all(answer.sent <= killed for answer in failed)
    assert len([answer for answer in load.answers if answer.sent > killed]) >= 20
