"""A rollout over processes: two workers of one replica and a second replica agree on it, under load."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import select

from accident_reco.launch.processes import free_port
from accident_reco.lifecycle.bundle import Bundle, Manifest
from accident_reco.lifecycle.rollout.control import Plan, start
from accident_reco.lifecycle.rollout.decision import RolloutPolicy
from accident_reco.lifecycle.rollout.state import Rollout, is_chosen, read_rollout
from accident_reco.lifecycle.store import ModelStore
from accident_reco.models.accidents.scoring.scorer import DECISION_FILE, AccidentScorer
from accident_reco.models.accidents.serving.columns import to_columns, transpose
from accident_reco.settings import Settings
from accident_reco.storage.clock import utc_now
from accident_reco.storage.tables.rollout import rollout_calls
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.accounts import prepare_home
from accident_reco_tests.support.live import wait_for
from accident_reco_tests.support.real_accidents import real_bundle
from accident_reco_tests.support.service_process import process
from accident_reco_tests.support.toy import open_model_store, promote
from serving.auth.issuing import Issuer
from serving.auth.keys import KeyRing
from serving.common.identity import SCOPES
from serving.predict.rollout.comparer import BATCH_ROWS

ACCOUNTS = [f"account-{number}" for number in range(24)]
RECORDS = [{"catu": 1 + n % 3, "an_nais": 1940 + 3 * n, "catv": 7 if n % 2 else 33, "vma": 50 + n} for n in range(12)]
BODY = json.dumps({"records": RECORDS}).encode()
URL = "/models/accidents/rollout"
SHARES = (0.3, 0.7)
# Answers of each account by each replica that must agree, so that both workers have surely been asked.
ROUNDS = 6


@dataclass(frozen=True)
class Answer:
    """One answer, in the order of its account's requests."""

    port: int
    version: str
    probabilities: tuple[float, ...]
    ids: tuple[str, ...]


class Load:
    """Requests of all accounts to all replicas in turns, a connection each: the kernel spreads them over workers.

    The requests of an account follow each other, so that a change of its version shows.
    """

    def __init__(self, ports: list[int], tokens: dict[str, str]) -> None:
        self.ports, self.tokens = ports, tokens
        self.answers: dict[str, list[Answer]] = defaultdict(list)
        self.failures: list[str] = []
        self.stop = threading.Event()

    def run(self, accounts: list[str]) -> None:
        while not self.stop.is_set():
            for port in self.ports:
                for account in accounts:
                    try:
                        self.answers[account].append(self.ask(port, account))
                    except (OSError, http.client.HTTPException, AssertionError) as error:
                        self.failures.append(f"{type(error).__name__}: {error}")

    def ask(self, port: int, account: str) -> Answer:
        status, found = self.call(port, account, "/predict/accidents", BODY)
        assert status == 200, found
        users = found["predictions"]
        ids = tuple(user["prediction_id"] for user in users)
        return Answer(port, found["version"], tuple(user["probability"] for user in users), ids)

    def call(self, port: int, account: str, path: str, body: bytes) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.tokens[account]}"}
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def agree(self, expected: Callable[[str], str]) -> bool:
        """Whether the latest answers of each account by each replica are all of the expected version."""
        for account in ACCOUNTS:
            for port in self.ports:
                latest = [one.version for one in self.answers[account][-4 * ROUNDS :] if one.port == port][-ROUNDS:]
                if latest != [expected(account)] * ROUNDS:
                    return False
        return True

    def sequence(self, account: str) -> list[str]:
        """The account's versions, without repetitions."""
        return [version for version, _ in groupby(one.version for one in list(self.answers[account]))]


@contextmanager
def load(ports: list[int], tokens: dict[str, str]) -> Iterator[Load]:
    made = Load(ports, tokens)
    threads = [threading.Thread(target=made.run, args=(ACCOUNTS[part::2],)) for part in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.stop.set()
        for thread in threads:
            thread.join()


def sign_tokens(home: Path) -> dict[str, str]:
    """A token of each account and one of an admin; the keys to check them are in the home's cache."""
    settings = Settings.load(home=home)
    ring, warehouse = KeyRing(settings.keys), Warehouse(settings.database)
    issuer = Issuer(settings, warehouse, ring)
    tokens = {account: issuer.sign_access_token(account, frozenset({"predict"})) for account in ACCOUNTS}
    tokens["admin"] = issuer.sign_access_token("admin", frozenset(SCOPES))
    warehouse.close()
    cache = home / "cache" / "jwks.json"
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_bytes(ring.jwks())
    return tokens


def mirror(bundle: Bundle) -> Bundle:
    """A version whose probabilities are one less those of another."""
    decision = json.loads(bundle.files[DECISION_FILE])
    decision["y"] = [1 - value for value in decision["y"]]
    return replace(bundle, files={**bundle.files, DECISION_FILE: json.dumps(decision).encode()})


def begin(home: Path, warehouse: Warehouse, manifest: Manifest, run: str) -> Rollout:
    models = open_model_store(home)
    pointer = models.pointer("accidents")
    assert pointer is not None
    plan = Plan("canary", SHARES, timedelta(days=1), RolloutPolicy())
    return start(models, warehouse, manifest, pointer, plan, run_id=run, reason="better", now=utc_now())


def find_outcome(models: ModelStore) -> str | None:
    state = read_rollout(models, "accidents")
    assert state is not None
    return state.outcome


def list_workers(parent: int) -> list[int]:
    """Ids of the processes that answer for a service with several workers."""
    children = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def count_compared(ports: list[int]) -> float:
    """Comparisons by the metrics of all processes."""
    found = 0.0
    for port in ports:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        lines = [line for line in text.splitlines() if "rollout_comparisons_total{" in line]
        found += sum(float(line.rpartition(" ")[2]) for line in lines)
    return found


def test_workers_and_replicas_agree(tmp_path: Path) -> None:
    """Nobody changes versions but once, forward; every step, a promotion, an abort and a rollback reach all within
    seconds; no request fails; each answer is of the version that it names; each comparison counts once."""
    first, second = tmp_path / "first", tmp_path / "second"
    prepare_home(first)
    champion, challenger = real_bundle(rounds=5, rows=600), real_bundle(rounds=5, rows=600, seed=1)
    pointer = promote(first, champion)
    models, warehouse = open_model_store(first), Warehouse(Settings.load(home=first).database)
    manifest, mirrored = models.write(challenger), models.write(mirror(challenger))
    tokens = sign_tokens(first)
    shutil.copytree(first / "cache", second / "cache")
    columns = to_columns(transpose(RECORDS, RECORDS[0]))
    bundles = {pointer.version: champion, manifest.version: challenger, mirrored.version: mirror(challenger)}
    own = {
        version: tuple(AccidentScorer.from_files(bundle.files).probability(columns).tolist())
        for version, bundle in bundles.items()
    }
    assert len(set(own.values())) == 3
    rollout = begin(first, warehouse, manifest, "run")

    def expect(share: float) -> Callable[[str], str]:
        def expected(account: str) -> str:
            is_its = is_chosen(share, f"account:{account}", rollout.challenger)
            return rollout.challenger if is_its else rollout.champion

        return expected

    settings = {"rollout": "canary", "rollout_sample": 1, "rate_per_second": 1e6, "rate_burst": 1_000_000}
    settings |= {"internal_auth_url": f"http://127.0.0.1:{free_port()}"}  # none: the keys are in the cache
    shared = {"store_url": (first / "store").as_uri(), "database_url": Settings.load(home=first).database}
    log = tmp_path / "log1"
    with (
        process("predict", first, log, **settings, http_workers=2) as (parent, one),
        process("predict", second, tmp_path / "log2", **settings, **shared) as (_, two),
        load([int(str(client.base_url).rpartition(":")[2].strip("/")) for client in (one, two)], tokens) as requests,
    ):
        # Each account has either version at each step, and the larger share contains the smaller one.
        wait_for(lambda: requests.agree(expect(SHARES[0])), 20)
        assert {expect(SHARES[0])(account) for account in ACCOUNTS} == {rollout.champion, rollout.challenger}
        reason = json.dumps({"reason": "looks fine"}).encode()
        status, state = requests.call(requests.ports[1], "admin", f"{URL}/advance", reason)
        assert (status, state["share"]) == (200, SHARES[1])
        wait_for(lambda: requests.agree(expect(SHARES[1])), 10)
        assert not requests.failures

        # A worker that is killed comes back with both versions, before it answers.
        loaded = log.read_text().count("challenger loaded")
        assert loaded == 2
        os.kill(list_workers(parent.pid)[0], signal.SIGKILL)
        wait_for(lambda: log.read_text().count("challenger loaded") == loaded + 1, 20)
        lost = len(requests.failures)  # requests that the killed worker held
        asked = len(requests.answers[ACCOUNTS[0]])
        wait_for(lambda: len(requests.answers[ACCOUNTS[0]]) > asked + 4 * ROUNDS, 20)
        for account in ACCOUNTS:
            assert requests.sequence(account) in (
                [rollout.champion],
                [rollout.challenger],
                [rollout.champion, rollout.challenger],
            )
            assert requests.sequence(account)[-1] == expect(SHARES[1])(account)

        # The last step makes it champion; whom it answered already, nobody else answers in between.
        asked = {account: len(requests.answers[account]) for account in ACCOUNTS}
        status, state = requests.call(requests.ports[0], "admin", f"{URL}/advance", reason)
        assert (status, state["state"]) == (200, "promoted")
        wait_for(lambda: requests.agree(lambda _: rollout.challenger), 10)
        for account in filter(lambda account: expect(SHARES[1])(account) == rollout.challenger, ACCOUNTS):
            assert {one.version for one in requests.answers[account][asked[account] :]} == {rollout.challenger}

        # An abort of another rollout reaches all within seconds.
        rollout = begin(first, warehouse, models.manifest("accidents", rollout.champion), "run1")
        wait_for(lambda: requests.agree(expect(SHARES[0])), 10)
        begun = time.monotonic()
        assert requests.call(requests.ports[0], "admin", f"{URL}/abort", reason)[0] == 200
        wait_for(lambda: requests.agree(lambda _: rollout.champion), 10)
        assert time.monotonic() - begun < 5
        assert len(requests.failures) == lost

        # A challenger that orders everything the wrong way is found and gone everywhere.
        begin(first, warehouse, mirrored, "run2")
        wait_for(lambda: find_outcome(models) == "rolled_back", 20)
        asked = len(requests.answers[ACCOUNTS[0]])
        wait_for(lambda: len(requests.answers[ACCOUNTS[0]]) > asked + 4 * ROUNDS, 20)
        wait_for(lambda: requests.agree(lambda _: rollout.champion), 10)
        assert len(requests.failures) == lost
        requests.stop.set()
        assert lost <= 2

        answers = [answer for own_answers in requests.answers.values() for answer in own_answers]
        assert {(answer.version, answer.probabilities) for answer in answers} <= set(own.items())
        ended = read_rollout(models, "accidents")
        assert ended is not None
        assert "it orders" in ended.decisions[-1]["reason"]

        # Evidence: each answered prediction once, of both replicas, and none that nobody received.
        by_id = {id_: answer.port for answer in answers for id_ in answer.ids}

        def stored() -> list[str]:
            with warehouse.connect() as connection:
                return list(connection.scalars(select(rollout_calls.c.id)))

        # The killed worker may have counted a last batch that it did not store.
        wait_for(lambda: 0 <= count_compared(requests.ports) - len(stored()) <= BATCH_ROWS, 10)
        ids = stored()
        assert len(set(ids)) == len(ids)
        assert {by_id[id_] for id_ in ids if id_ in by_id} == set(requests.ports)
        assert sum(id_ not in by_id for id_ in ids) <= lost * len(RECORDS)
    warehouse.close()
