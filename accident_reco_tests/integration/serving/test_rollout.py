"""Rollouts in a running predict service: who answers, comparisons, objectives, and decisions of a person."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import select

from accident_reco.lifecycle.rollout.control import Plan, start
from accident_reco.lifecycle.rollout.decision import RolloutPolicy
from accident_reco.lifecycle.rollout.state import Rollout, read_rollout
from accident_reco.settings import Settings
from accident_reco.storage.clock import utc_now
from accident_reco.storage.lifecycle import promotion_history
from accident_reco.storage.tables.rollout import rollout_calls
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.toy import ToyScorer, load_toy, open_model_store, promote, toy_bundle
from serving.predict.app import create_app

RECORDS = {"records": [{"catu": 3}, {"catu": 1}]}
URL = "/models/accidents/rollout"


class Faulty(ToyScorer):
    """A version with a fault after its smoke prediction."""

    def __init__(self, fault: str) -> None:
        super().__init__(0.5, 0.5)
        self.fault, self.calls = fault, 0

    def probability(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        found = super().probability(columns)
        if self.fault == "fails":
            raise RuntimeError("no memory")
        if self.fault == "slow":
            threading.Event().wait(0.015)
        return {"nan": found * np.nan, "constant": found * 0 + 0.25, "mirrored": 1 - found}.get(self.fault, found)


def load(files: Mapping[str, bytes], manifest: Any) -> ToyScorer:
    fault = json.loads(files["weights.json"]).get("fault")
    return Faulty(fault) if fault else load_toy(files, manifest)


def begin(home: Path, warehouse: Warehouse, plan: Plan, fault: str = "") -> Rollout:
    """A champion, and the rollout of a challenger beside it."""
    pointer = promote(home, toy_bundle(0.9))
    document = {"weight": 0.6, "threshold": 0.5} | ({"fault": fault} if fault else {})
    challenger = toy_bundle(0.6, **{"weights.json": json.dumps(document).encode()})
    store = open_model_store(home)
    manifest = store.write(challenger)
    return start(store, warehouse, manifest, pointer, plan, run_id="run", reason="better", now=utc_now())


def make_plan(mode: Any = "canary", share: float = 0.5, **policy: Any) -> Plan:
    return Plan(mode, (share,), timedelta(days=1), RolloutPolicy(step_seconds=0.0, **policy))


@contextmanager
def service(home: Path, sample: float = 1.0) -> Iterator[httpx.Client]:
    changes = {"rollout": "canary", "rollout_sample": sample, "model_poll_seconds": 0.1}
    settings = Settings.load(home=home, auth_required=False, **changes)
    with live(create_app(settings, {"accidents": load})) as client:
        yield client


def follows(client: httpx.Client, rollout: Rollout) -> Callable[[], bool]:
    """Whether the process has loaded the challenger."""
    url = f"/v2/models/accidents/versions/{rollout.challenger}"
    return lambda: client.get(url).status_code == 200


def ask(client: httpx.Client) -> dict[str, Any]:
    response = client.post("/predict/accidents", json=RECORDS)
    assert response.status_code == 200, response.text
    return dict(response.json())


def answers_with(client: httpx.Client, rollout: Rollout) -> Callable[[], bool]:
    """Whether the challenger answers."""
    return lambda: ask(client)["version"] == rollout.challenger


def compared(warehouse: Warehouse) -> list[dict[str, Any]]:
    with warehouse.connect() as connection:
        return [dict(row) for row in connection.execute(select(rollout_calls)).mappings()]


def outcome(home: Path) -> str | None:
    state = read_rollout(open_model_store(home), "accidents")
    assert state is not None
    return state.outcome


def test_a_shadow_is_compared_and_never_answers(tmp_path: Path, warehouse: Warehouse) -> None:
    rollout = begin(tmp_path, warehouse, make_plan("shadow"))
    with service(tmp_path) as client:
        wait_for(follows(client, rollout))
        answers = [ask(client) for _ in range(5)]
        assert {answer["version"] for answer in answers} == {rollout.champion}
        wait_for(lambda: len(compared(warehouse)) == 10)
        rows = {row["id"]: row for row in compared(warehouse)}
        first = answers[0]["predictions"][0]
        row = rows[first["prediction_id"]]
        assert (row["champion_score"], row["challenger_score"]) == pytest.approx((0.9, 0.6))
        assert (row["answered_by"], row["challenger"], row["agreement"]) == (rollout.champion, rollout.challenger, 1.0)
        # Both were timed alone on each of the first calls; a call with two predictions is one measurement.
        timed = [row for row in rows.values() if row["champion_ms"] is not None]
        assert len(timed) == 5
        assert all(row["challenger_ms"] > 0 for row in timed)
        exposed = client.get("/metrics").text
        assert 'rollout_share{model="accidents"} 0.0' in exposed
        assert 'rollout_comparisons_total{model="accidents",outcome="same"} 10.0' in exposed


def test_a_canary_answers_its_share_of_the_accounts_and_names_itself(tmp_path: Path, warehouse: Warehouse) -> None:
    rollout = begin(tmp_path, warehouse, make_plan(share=0.999))
    with service(tmp_path) as client:
        wait_for(answers_with(client, rollout))
        answer = ask(client)
        assert answer["version"] == rollout.challenger
        assert answer["predictions"][0]["probability"] == pytest.approx(0.6)
        ids = {prediction["prediction_id"] for prediction in answer["predictions"]}
        wait_for(lambda: ids <= {row["id"] for row in compared(warehouse)})
        rows = [row for row in compared(warehouse) if row["id"] in ids]
        assert {row["answered_by"] for row in rows} == {rollout.challenger}
        assert sorted(row["champion_score"] for row in rows) == [pytest.approx(0.3), pytest.approx(0.9)]
        # Over v2 the same share applies, and either version can be asked for.
        tensors = {"inputs": [{"name": "catu", "shape": [1], "datatype": "INT32", "data": [3]}]}
        url = "/v2/models/accidents"
        assert client.post(f"{url}/infer", json=tensors).json()["model_version"] == rollout.challenger
        for version in (rollout.champion, rollout.challenger):
            named = client.post(f"{url}/versions/{version}/infer", json=tensors).json()
            assert named["model_version"] == version
        assert client.post(f"{url}/versions/{'0' * 16}/infer", json=tensors).status_code == 404


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("fails", "it failed on"),
        ("nan", r"it failed on|\d+ of \d+ scores are not finite"),  # as answered by it, or by the champion
        ("constant", "its scores of"),
        ("mirrored", "it orders"),
        ("slow", "its p99 is"),
    ],
)
def test_a_bad_canary_is_gone_and_no_request_fails(
    tmp_path: Path, warehouse: Warehouse, fault: str, reason: str
) -> None:
    """Requests under load all succeed, answers are of one version each, and the state ends everywhere."""
    rollout = begin(tmp_path, warehouse, make_plan(share=0.999), fault)
    with service(tmp_path) as client, ThreadPoolExecutor(4) as threads:
        wait_for(follows(client, rollout))
        seen: set[tuple[str, float]] = set()
        while outcome(tmp_path) is None:
            for answer in threads.map(lambda _: ask(client), range(40)):
                seen |= {(answer["version"], round(user["probability"], 3)) for user in answer["predictions"]}
        assert ask(client)["version"] == rollout.champion
        own = {probability for version, probability in seen if version == rollout.champion}
        assert own <= {0.9, 0.3}
        state = client.get(URL).json()
    assert state["state"] == "rolled_back"
    assert re.match(f"service objective: ({reason})", state["decisions"][-1]["reason"])
    assert state["decisions"][-1]["by"] == "predict service"
    assert promotion_history(warehouse, "accidents")[0]["action"] == "rollout_back"


def test_a_bad_shadow_is_gone_too(tmp_path: Path, warehouse: Warehouse) -> None:
    rollout = begin(tmp_path, warehouse, make_plan("shadow"), "nan")
    with service(tmp_path) as client:
        wait_for(follows(client, rollout))
        for _ in range(3):
            assert ask(client)["version"] == rollout.champion
        wait_for(lambda: outcome(tmp_path) == "rolled_back")
    assert {row["problem"] for row in compared(warehouse)} == {"not_finite"}


def test_two_replicas_agree_and_both_end_it(tmp_path: Path, warehouse: Warehouse) -> None:
    """One process finds the fault; the other stops by the state."""
    rollout = begin(tmp_path, warehouse, make_plan(share=0.999), "nan")
    with ExitStack() as stack:
        busy, idle = (stack.enter_context(service(tmp_path)) for _ in range(2))
        wait_for(lambda: follows(busy, rollout)() and follows(idle, rollout)())
        while outcome(tmp_path) is None:
            ask(busy)
        wait_for(lambda: not follows(idle, rollout)())
        assert ask(idle)["version"] == rollout.champion


def test_a_person_follows_advances_and_aborts(tmp_path: Path, warehouse: Warehouse) -> None:
    promote(tmp_path, toy_bundle(0.9))
    with service(tmp_path) as client:
        assert client.get(URL).status_code == 404
        assert client.post(f"{URL}/abort", json={"reason": "no need"}).status_code == 409
        plan = Plan("canary", (0.01, 0.5), timedelta(days=1), RolloutPolicy())
        rollout = begin(tmp_path, warehouse, plan)
        shown = client.get(URL).json()
        assert (shown["state"], shown["share"], shown["steps"]) == ("running", 0.01, [0.01, 0.5])
        assert shown["decisions"][0]["action"] == "start"
        assert client.post(f"{URL}/advance", json={}).status_code == 422
        advanced = client.post(f"{URL}/advance", json={"reason": "looks fine"}).json()
        assert (advanced["share"], advanced["decisions"][-1]["by"]) == (0.5, "anonymous")
        promoted = client.post(f"{URL}/advance", json={"reason": "go on"}).json()
        assert promoted["state"] == "promoted"
        wait_for(lambda: ask(client)["version"] == rollout.challenger)
        assert client.post(f"{URL}/abort", json={"reason": "too late"}).status_code == 409
        audited = [row["action"] for row in promotion_history(warehouse, "accidents")][::-1]
        assert audited == ["rollout_start", "rollout_advance", "promote", "rollout_promote"]


def test_an_aborted_rollout_leaves_the_champion(tmp_path: Path, warehouse: Warehouse) -> None:
    rollout = begin(tmp_path, warehouse, make_plan(share=0.999))
    with service(tmp_path) as client:
        wait_for(answers_with(client, rollout))
        aborted = client.post(f"{URL}/abort", json={"reason": "not today"}).json()
        assert (aborted["state"], aborted["share"]) == ("aborted", 0.0)
        wait_for(lambda: ask(client)["version"] == rollout.champion)


def test_damaged_state_leaves_the_champion_and_is_reported(tmp_path: Path, warehouse: Warehouse) -> None:
    rollout = begin(tmp_path, warehouse, make_plan(share=0.999))
    open_model_store(tmp_path).objects.write("models/accidents/rollout.json", b"{")
    with service(tmp_path) as client:
        assert ask(client)["version"] == rollout.champion
        wait_for(lambda: 'rollout_problem{model="accidents"} 1.0' in client.get("/metrics").text)
        damaged = client.get(URL)
        assert (damaged.status_code, damaged.json()["type"].rsplit(":")[-1]) == (503, "store-down")
