"""State of a rollout on a directory and SQLite: starts, steps, ends, and a process killed at any point."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from accident_reco.lifecycle.bundle import Bundle, Manifest
from accident_reco.lifecycle.gate import Comparison, GatePolicy, Interval
from accident_reco.lifecycle.intents import MoveInterrupted
from accident_reco.lifecycle.intents import settle as settle_pointer
from accident_reco.lifecycle.promotion import promote
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.lifecycle.rollout.control import Plan, abort, carry_out, settle
from accident_reco.lifecycle.rollout.decision import RolloutPolicy, Step
from accident_reco.lifecycle.rollout.state import (
    MAX_POINTS,
    Rollout,
    find_end,
    is_chosen,
    read_rollout,
    write_rollout,
)
from accident_reco.lifecycle.store import ModelStore
from accident_reco.storage.lifecycle import promotion_history, rolled_back_versions
from accident_reco.storage.objects import SwapConflict
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.fault_points import Fault, Killed, WatchedStore, WatchedWarehouse, kill

MODEL = "accidents"
POLICY = GatePolicy("roc_auc", True, floor=0.5, minimum_gain=0.0)
BETTER = Comparison(100, 50, Interval(0.1, 0.05, 0.15))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CANARY = Plan("canary", (0.01, 0.1, 0.5), timedelta(days=7), RolloutPolicy())
SHADOW = replace(CANARY, mode="shadow")
PROMOTE = Step("promote", "as good", 1.0)


def bundle(content: bytes) -> Bundle:
    return Bundle(MODEL, {"model.onnx": content}, {"inputs": 3}, {"roc_auc": 0.8}, {"data_source": "sample"})


ONE, TWO, THREE = (bundle(content) for content in (b"one", b"two", b"three"))


def offer(
    store: ModelStore, warehouse: Warehouse, candidate: Bundle, plan: Plan | None = CANARY, run: str = "run"
) -> Any:
    """Pass the gate with a candidate."""
    return promote(store, warehouse, candidate, lambda *_: BETTER, POLICY, f"{run}-{candidate.version}", rollout=plan)


def running(store: ModelStore) -> Rollout:
    state = read_rollout(store, MODEL)
    assert state is not None
    return state


def champion(store: ModelStore) -> str:
    pointer = store.pointer(MODEL)
    assert pointer is not None
    return pointer.version


def actions(warehouse: Warehouse) -> list[str]:
    return [row["action"] for row in promotion_history(warehouse, MODEL)][::-1]


@pytest.fixture
def begun(store: ModelStore, warehouse: Warehouse) -> Rollout:
    """A canary of TWO beside ONE."""
    assert offer(store, warehouse, ONE).decision.promote
    assert not offer(store, warehouse, TWO).decision.promote
    return running(store)


def test_the_first_version_needs_no_rollout_and_the_next_one_begins_it(
    store: ModelStore, warehouse: Warehouse, begun: Rollout
) -> None:
    assert champion(store) == ONE.version
    assert (begun.champion, begun.challenger, begun.mode, begun.share) == (ONE.version, TWO.version, "canary", 0.01)
    assert begun.outcome is None
    assert actions(warehouse) == ["promote", "rollout_start"]
    row = promotion_history(warehouse, MODEL)[0]
    assert (row["version"], row["previous"], row["promoted"]) == (TWO.version, ONE.version, False)
    assert row["run_id"] == f"run-{TWO.version}"
    assert row["reason"].startswith("canary: roc_auc 0.8000")
    # The same run, started again, finds what it began.
    again = offer(store, warehouse, TWO)
    assert again.decision.reason.startswith(f"canary begun beside {ONE.version}")
    assert running(store).tag == begun.tag
    assert actions(warehouse) == ["promote", "rollout_start"]


def test_steps_to_champion(store: ModelStore, warehouse: Warehouse, begun: Rollout) -> None:
    later = NOW + timedelta(hours=1)
    state = carry_out(store, warehouse, begun, Step("advance", "fine", 0.1), by="rollout", now=later)
    assert (state.share, state.step_since) == (0.1, later.isoformat())
    state = carry_out(store, warehouse, state, Step("hold", "wait", 0.1), by="rollout", now=later)
    assert (state.share, champion(store)) == (0.1, ONE.version)
    state = carry_out(store, warehouse, state, PROMOTE, by="rollout", now=later)
    assert (state.outcome, state.share) == ("promoted", 1.0)
    assert champion(store) == TWO.version
    assert actions(warehouse) == ["promote", "rollout_start", "rollout_advance", "promote", "rollout_promote"]
    moved = promotion_history(warehouse, MODEL)[1]
    assert (moved["promoted"], moved["reason"], moved["run_id"]) == (
        True,
        "canary passed: as good",
        f"rollout:{TWO.version}",
    )
    # An ended rollout stays as it is.
    assert settle(store, warehouse, MODEL, later) == state


def test_a_version_that_a_rollout_rolled_back_is_blocked(
    store: ModelStore, warehouse: Warehouse, begun: Rollout
) -> None:
    state = carry_out(store, warehouse, begun, Step("roll_back", "slow", 0.0), by="predict service", now=NOW)
    assert (state.outcome, champion(store)) == ("rolled_back", ONE.version)
    assert rolled_back_versions(warehouse, MODEL) == [TWO.version]
    refused = offer(store, warehouse, TWO, run="another")
    assert not refused.decision.promote
    assert "rolled back" in refused.decision.reason
    assert running(store) == state
    # A person may still make it champion; then it is no longer blocked.
    roll_back(store, warehouse, MODEL, version=TWO.version, requested_by="ada", run_id="hand")
    assert rolled_back_versions(warehouse, MODEL) == [ONE.version]


def test_a_person_aborts(store: ModelStore, warehouse: Warehouse, begun: Rollout) -> None:
    state = abort(store, warehouse, begun, by="ada", reason="not today", now=NOW)
    assert (state.outcome, state.decisions[-1]["by"]) == ("aborted", "ada")
    assert rolled_back_versions(warehouse, MODEL) == []
    assert not offer(store, warehouse, TWO, run="another").decision.promote
    assert running(store).outcome is None


def test_a_newer_candidate_replaces_it(store: ModelStore, warehouse: Warehouse, begun: Rollout) -> None:
    offer(store, warehouse, THREE, SHADOW)
    state = running(store)
    assert (state.challenger, state.mode, state.share, state.steps) == (THREE.version, "shadow", 0.0, [])
    assert actions(warehouse)[-2:] == ["rollout_replace", "rollout_start"]
    with pytest.raises(SwapConflict):
        carry_out(store, warehouse, begun, PROMOTE, by="late", now=NOW)
    assert running(store).challenger == THREE.version


def test_a_rollback_ends_it(store: ModelStore, warehouse: Warehouse, begun: Rollout) -> None:
    offer(store, warehouse, THREE, None)
    roll_back(store, warehouse, MODEL, version=ONE.version, requested_by="ada", run_id="hand")
    offer(store, warehouse, bundle(b"four"), None)
    ended = settle(store, warehouse, MODEL, NOW)
    assert ended is not None
    assert (ended.outcome, ended.decisions[-1]["action"]) == ("superseded", "end")
    assert ended.decisions[-1]["reason"].startswith(f"the champion moved from {ONE.version} to ")
    assert actions(warehouse)[-1] == "rollout_end"


def test_promotion_beside_a_moved_pointer_moves_nothing(
    store: ModelStore, warehouse: Warehouse, begun: Rollout
) -> None:
    offer(store, warehouse, THREE, None)
    state = carry_out(store, warehouse, begun, PROMOTE, by="rollout", now=NOW)
    assert (state.outcome, champion(store)) == ("superseded", THREE.version)


@pytest.mark.parametrize(
    "step", [Step("advance", "fine", 0.1), PROMOTE, Step("roll_back", "slow", 0.0)], ids=lambda step: step.action
)
def test_killed_at_any_point_one_champion_serves_and_the_next_look_completes(
    store: ModelStore, warehouse: Warehouse, step: Step
) -> None:
    """Every point once: one of both versions is champion at all times, and each decision is in the audit once."""
    for at in count(1):
        content = f"{step.action}-{at}".encode()
        before, after = bundle(content + b"-1"), bundle(content + b"-2")
        offer(store, warehouse, before, None)
        offer(store, warehouse, after)
        begun, fault = running(store), Fault(at, kill)
        watched = ModelStore(WatchedStore(store.objects, fault, []))
        try:
            carry_out(watched, WatchedWarehouse(warehouse, fault), begun, step, by="rollout", now=NOW)
            break
        except Killed:
            pass
        settle_pointer(store, warehouse, MODEL)
        serving = champion(store)
        assert serving in ((before.version, after.version) if step.action == "promote" else (before.version,))
        state = settle(store, warehouse, MODEL, NOW)
        assert state is not None
        if state.outcome is None and state.tag == begun.tag:  # killed before anything was written
            state = carry_out(store, warehouse, state, step, by="rollout", now=NOW)
        expected = {"advance": None, "promote": "promoted", "roll_back": "rolled_back"}[step.action]
        assert state.outcome == expected
        assert champion(store) == (after.version if step.action == "promote" else before.version)
        mine = [row["action"] for row in promotion_history(warehouse, MODEL) if row["version"] == after.version]
        assert max(Counter(mine).values()) == 1, mine
        assert "rollout_start" in mine
        assert len(mine) == (3 if step.action == "promote" else 2), mine
    assert at > 3


def test_the_store_away_at_a_promotion_leaves_it_to_be_completed(
    store: ModelStore, warehouse: Warehouse, begun: Rollout
) -> None:
    def lose_store(fault: Fault) -> None:
        fault.down = "store"

    interrupted = 0
    for at in range(1, 12):
        fault = Fault(at, lose_store)
        watched = ModelStore(WatchedStore(store.objects, fault, []))
        try:
            carry_out(watched, WatchedWarehouse(warehouse, fault), begun, PROMOTE, by="rollout", now=NOW)
            break
        except MoveInterrupted:
            interrupted += 1
            break
        except Exception:
            assert champion(store) in (ONE.version, TWO.version)
    settle_pointer(store, warehouse, MODEL)
    state = settle(store, warehouse, MODEL, NOW)
    assert state is not None
    assert (champion(store) == TWO.version) == (state.outcome == "promoted")
    assert interrupted


def test_damaged_state_is_an_error_that_names_it(store: ModelStore) -> None:
    assert read_rollout(store, MODEL) is None
    store.objects.write("models/accidents/rollout.json", b"{}")
    with pytest.raises(ValueError, match=r"rollout\.json is damaged"):
        read_rollout(store, MODEL)


def test_the_curve_is_bounded_and_keeps_its_ends(store: ModelStore, warehouse: Warehouse, begun: Rollout) -> None:
    state = begun
    for n in range(MAX_POINTS + 300):
        state = state.evaluated(str(n), "hold", "", {"labels": n})
    assert len(state.curve) <= MAX_POINTS
    assert (state.curve[0]["labels"], state.curve[-1]["labels"]) == (0, MAX_POINTS + 299)
    assert write_rollout(store, state, begun).curve == state.curve


def test_who_is_chosen_stays_chosen_at_every_larger_share() -> None:
    keys = [f"user:{n}" for n in range(20_000)]
    chosen = {share: {key for key in keys if is_chosen(share, key, "b" * 16)} for share in (0.0, 0.01, 0.1, 0.5, 1.0)}
    assert chosen[0.0] == set()
    assert chosen[0.01] < chosen[0.1] < chosen[0.5] < chosen[1.0] == set(keys)
    for share in (0.01, 0.1, 0.5):
        assert len(chosen[share]) / len(keys) == pytest.approx(share, abs=0.01)
    # Another challenger meets others first.
    assert chosen[0.01] != {key for key in keys if is_chosen(0.01, key, "c" * 16)}


def test_the_pointer_says_how_it_ended(store: ModelStore, begun: Rollout) -> None:
    pointer = store.pointer(MODEL)
    assert pointer is not None
    assert find_end(begun, pointer) is None
    assert find_end(begun, replace(pointer, version=TWO.version)) == ("promoted", f"{TWO.version} is champion")
    assert find_end(begun, None) == ("superseded", f"the champion moved from {ONE.version} to none")


def test_manifest_of_the_rollout_is_that_of_the_stored_version(store: ModelStore, begun: Rollout) -> None:
    manifest: Manifest = store.manifest(MODEL, begun.challenger)
    assert manifest.sha256 == begun.manifest_sha256
    assert manifest.gate["promote"]
