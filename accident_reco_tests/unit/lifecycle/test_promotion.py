"""Promotion of candidates: pointer, manifest, audit row and metrics of every outcome, on a directory and SQLite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, select

from accident_reco.lifecycle.bundle import Bundle, Manifest
from accident_reco.lifecycle.gate import Comparison, GatePolicy, Interval
from accident_reco.lifecycle.intents import MoveInterrupted
from accident_reco.lifecycle.promotion import MAX_ROUNDS, promote, sweep
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.lifecycle.store import ModelStore
from accident_reco.storage.lifecycle import open_intents, promotion_history
from accident_reco.storage.objects import StoreError
from accident_reco.storage.tables.lifecycle import model_metrics, promotion_intents, promotions
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.fault_points import Fault, WatchedStore, WatchedWarehouse

MODEL = "accidents"
POLICY = GatePolicy("roc_auc", True, floor=0.5, minimum_gain=0.0, limits={"ece": 0.25})
BETTER = Comparison(100, 50, Interval(0.1, 0.05, 0.15))
WORSE = Comparison(100, 50, Interval(-0.1, -0.15, -0.05))
FIRST = "first version: roc_auc 0.8000 passes the floor 0.5000"
GAIN = "roc_auc 0.8000 vs 0.7000: gain +0.1000 [+0.0500, +0.1500] over 50 groups, no slice is worse"


def bundle(content: bytes, **metrics: float) -> Bundle:
    measured = {"roc_auc": 0.8, "ece": 0.25} | metrics
    return Bundle(MODEL, {"model.onnx": content}, {"inputs": 3}, measured, {"data_source": "sample"})


ONE, TWO, THREE = (bundle(content) for content in (b"one", b"two", b"three"))


def better(manifest: Manifest, files: Mapping[str, bytes]) -> Comparison:
    return BETTER


def worse(manifest: Manifest, files: Mapping[str, bytes]) -> Comparison:
    return WORSE


def never(*_: object) -> Any:
    raise AssertionError("not to be called")


def audit(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Every decision, oldest first, without id and time."""
    rows = promotion_history(warehouse, MODEL)[::-1]
    return [{name: value for name, value in row.items() if name not in ("id", "decided_at")} for row in rows]


def metrics(warehouse: Warehouse) -> dict[tuple[str, str], tuple[float, str, str]]:
    """Stored metrics by version and name: value, data source, and time of the training."""
    with warehouse.connect() as connection:
        rows = connection.execute(select(model_metrics).where(model_metrics.c.model == MODEL)).mappings().all()
    return {
        (row["version"], row["metric"]): (row["value"], row["data_source"], row["created_at"].isoformat()[:19])
        for row in rows
    }


def expected_metrics(manifest: Manifest) -> dict[tuple[str, str], tuple[float, str, str]]:
    origin = ("sample", manifest.created_at[:19])
    return {(manifest.version, name): (value, *origin) for name, value in manifest.metrics.items()}


def serving(store: ModelStore) -> str:
    pointer = store.pointer(MODEL)
    assert pointer is not None
    return pointer.version


def watched(store: ModelStore, at: int, action: Callable[[Fault], None]) -> ModelStore:
    """The store with an action at the `at`-th point; reads of the pointer and both sides of writes are points."""
    return ModelStore(WatchedStore(store.objects, Fault(at, action), []))


def test_the_first_candidate_is_stored_and_becomes_champion(store: ModelStore, warehouse: Warehouse) -> None:
    """Outcome, pointer, manifest, intent, audit row and metrics agree; there is nothing to compare with."""
    outcome = promote(store, warehouse, ONE, never, POLICY, "r1")
    pointer, manifest = store.champion(MODEL) or never()
    assert (outcome.version, outcome.pointer) == (ONE.version, pointer)
    assert (outcome.decision.promote, outcome.decision.reason) == (True, FIRST)
    assert (pointer.version, pointer.previous, pointer.run_id, pointer.reason) == (ONE.version, None, "r1", FIRST)
    assert manifest.gate == outcome.decision.document()
    assert manifest.gate["detail"]["candidate"] == ONE.version
    assert manifest.gate["detail"]["policy"]["floor"] == 0.5
    assert manifest.lineage == {"data_source": "sample"}
    assert audit(warehouse) == [
        {
            "model": MODEL,
            "version": ONE.version,
            "previous": None,
            "action": "promote",
            "promoted": True,
            "reason": FIRST,
            "detail": outcome.decision.detail,
            "run_id": "r1",
        }
    ]
    with warehouse.connect() as connection:
        assert connection.execute(select(promotion_intents.c.requested_by)).scalars().all() == ["gate"]
    assert metrics(warehouse) == expected_metrics(manifest)


def test_a_better_candidate_follows_the_champion(store: ModelStore, warehouse: Warehouse) -> None:
    """It is compared with the champion's manifest and files, and both versions keep their metrics."""
    promote(store, warehouse, ONE, never, POLICY, "r1")
    compared: list[tuple[Manifest, dict[str, bytes]]] = []

    def compare(manifest: Manifest, files: Mapping[str, bytes]) -> Comparison:
        compared.append((manifest, dict(files)))
        return BETTER

    outcome = promote(store, warehouse, TWO, compare, POLICY, "r2")
    assert compared == [(store.manifest(MODEL, ONE.version), {"model.onnx": b"one"})]
    pointer = store.pointer(MODEL)
    assert pointer is not None
    assert (pointer.version, pointer.previous, pointer.run_id) == (TWO.version, ONE.version, "r2")
    assert (outcome.decision.promote, outcome.decision.reason) == (True, GAIN)
    assert outcome.decision.detail["champion"] == ONE.version
    assert [(row["version"], row["previous"], row["promoted"]) for row in audit(warehouse)] == [
        (ONE.version, None, True),
        (TWO.version, ONE.version, True),
    ]
    both = [store.manifest(MODEL, version) for version in (ONE.version, TWO.version)]
    assert metrics(warehouse) == expected_metrics(both[0]) | expected_metrics(both[1])


def test_a_worse_candidate_is_audited_and_discarded(store: ModelStore, warehouse: Warehouse) -> None:
    """The outcome has the reason and the champion's pointer; neither files nor metrics are kept."""
    promote(store, warehouse, ONE, never, POLICY, "r1")
    outcome = promote(store, warehouse, TWO, worse, POLICY, "r2", keep=never)
    reason = "roc_auc 0.8000 vs 0.9000: gain -0.1000 [-0.1500, -0.0500] is below 0"
    assert (outcome.version, outcome.pointer) == (TWO.version, store.pointer(MODEL))
    assert (outcome.decision.promote, outcome.decision.reason) == (False, reason)
    assert serving(store) == ONE.version
    assert store.versions(MODEL) == [ONE.version]
    assert {version for version, _ in metrics(warehouse)} == {ONE.version}
    assert audit(warehouse)[1] == {
        "model": MODEL,
        "version": TWO.version,
        "previous": ONE.version,
        "action": "refuse",
        "promoted": False,
        "reason": reason,
        "detail": outcome.decision.document()["detail"],
        "run_id": "r2",
    }
    assert audit(warehouse)[1]["detail"]["champion"] == ONE.version


def test_a_metric_that_is_not_finite_is_audited_as_null(store: ModelStore, warehouse: Warehouse) -> None:
    """JSON has no NaN: the audit of a rejected first candidate, without predecessor and pointer, is readable."""
    outcome = promote(store, warehouse, replace(ONE, metrics={"roc_auc": float("nan")}), never, POLICY, "r1")
    (row,) = audit(warehouse)
    assert outcome.pointer is None
    assert (row["previous"], row["detail"]["roc_auc"]) == (None, None)
    assert row["reason"] == "roc_auc nan is below the floor 0.5000"


def test_limits_apply_to_the_metrics_of_the_champions_manifest(store: ModelStore, warehouse: Warehouse) -> None:
    """The candidate's calibration error may be worse than the champion's by the policy's slack and no more."""
    promote(store, warehouse, ONE, never, POLICY, "r1")
    refused = promote(store, warehouse, bundle(b"two", ece=0.5625), better, POLICY, "r2")
    assert refused.decision.reason.endswith(", but ece 0.5625 is worse than 0.2500 by more than 0.25")
    assert promote(store, warehouse, bundle(b"two", ece=0.5), better, POLICY, "r3").decision.promote


def test_failing_checks_of_the_data_reject(store: ModelStore, warehouse: Warehouse) -> None:
    """Whatever the metrics are."""
    outcome = promote(store, warehouse, ONE, never, POLICY, "r1", problems=["no labels"])
    assert outcome.decision.reason == "the data fails its checks: no labels"
    assert store.pointer(MODEL) is None


def test_a_version_that_was_rolled_back_is_rejected(store: ModelStore, warehouse: Warehouse) -> None:
    """A user's rollback outlasts the next training of the same content."""
    promote(store, warehouse, ONE, never, POLICY, "r1")
    promote(store, warehouse, TWO, better, POLICY, "r2")
    roll_back(store, warehouse, MODEL, version=None, requested_by="ada", run_id="cli")
    outcome = promote(store, warehouse, TWO, better, POLICY, "r3")
    assert outcome.decision.reason == f"{TWO.version} was rolled back by a user, which blocks it from promotion"
    assert serving(store) == ONE.version


def test_the_champions_own_content_is_rejected_without_a_comparison(store: ModelStore, warehouse: Warehouse) -> None:
    """A training that gives the champion again, by another run, changes nothing."""
    promote(store, warehouse, ONE, never, POLICY, "r1")
    before = store.pointer(MODEL)
    outcome = promote(store, warehouse, ONE, never, POLICY, "r2")
    assert (
        outcome.decision.reason == f"{ONE.version} serves already: the same data, code and seed give the same version"
    )
    assert store.pointer(MODEL) == before == outcome.pointer


def test_what_is_kept_joins_the_lineage(store: ModelStore, warehouse: Warehouse) -> None:
    """`keep` gets the candidate once it has passed; its result replaces or extends the lineage of the manifest."""
    kept: list[Bundle] = []

    def keep(candidate: Bundle) -> dict[str, str]:
        kept.append(candidate)
        return {"dataset": "abc", "data_source": "kept"}

    promote(
        store, warehouse, replace(ONE, lineage={"data_source": "sample", "seed": 20}), never, POLICY, "r1", keep=keep
    )
    assert [candidate.version for candidate in kept] == [ONE.version]
    manifest = store.manifest(MODEL, ONE.version)
    assert manifest.lineage == {"data_source": "kept", "seed": 20, "dataset": "abc"}


def test_an_error_of_keep_changes_nothing(store: ModelStore, warehouse: Warehouse) -> None:
    """No version is stored, nothing is audited, and the pointer stays."""

    def keep(_: Bundle) -> dict[str, str]:
        raise OSError("disk full")

    with pytest.raises(OSError, match=r"^disk full$"):
        promote(store, warehouse, ONE, never, POLICY, "r1", keep=keep)
    assert (store.versions(MODEL), store.pointer(MODEL), audit(warehouse)) == ([], None, [])


def test_repeated_by_its_run_a_promotion_returns_its_outcome(store: ModelStore, warehouse: Warehouse) -> None:
    """A run that is retried after its promotion succeeds like the first attempt, and decides nothing anew."""
    promote(store, warehouse, ONE, never, POLICY, "r1")
    first = promote(store, warehouse, TWO, better, POLICY, "r2")
    promote(store, warehouse, THREE, worse, POLICY, "r3")
    again = promote(store, warehouse, TWO, never, POLICY, "r2", keep=never)
    assert (again.version, again.pointer, again.decision.promote) == (TWO.version, first.pointer, True)
    assert again.decision.reason == GAIN
    assert again.decision.document() == first.decision.document()
    assert again.decision.detail["champion"] == ONE.version
    assert len(audit(warehouse)) == 3


def test_repeated_without_its_audit_row_a_promotion_has_no_detail(store: ModelStore, warehouse: Warehouse) -> None:
    """The pointer alone proves the promotion; its figures are gone with the row."""
    promote(store, warehouse, ONE, never, POLICY, "r1")
    with warehouse.begin() as connection:
        connection.execute(delete(promotions))
    again = promote(store, warehouse, ONE, never, POLICY, "r1")
    assert (again.decision.promote, again.decision.reason, again.decision.detail) == (True, FIRST, {})


def test_another_run_with_another_candidate_is_no_repetition(store: ModelStore, warehouse: Warehouse) -> None:
    """Both the version and the run must be the pointer's: a run may train several candidates."""
    promote(store, warehouse, ONE, never, POLICY, "r1")
    assert promote(store, warehouse, TWO, better, POLICY, "r1").version == TWO.version
    assert serving(store) == TWO.version


def test_a_champion_that_changes_before_the_decision_starts_another_round(
    store: ModelStore, warehouse: Warehouse
) -> None:
    """The round against the former champion is audited with its figures, whatever it decided; the next one counts."""
    promote(store, warehouse, ONE, never, POLICY, "r1")
    kept: list[str] = []

    def compare(manifest: Manifest, files: Mapping[str, bytes]) -> Comparison:
        if manifest.version == ONE.version:
            promote(store, warehouse, TWO, better, POLICY, "r2")
            return WORSE
        return BETTER

    def keep(candidate: Bundle) -> dict[str, str]:
        kept.append(candidate.version)
        return {"dataset": "abc"}

    outcome = promote(store, warehouse, THREE, compare, POLICY, "r3", keep=keep)
    assert outcome.decision.promote
    assert serving(store) == THREE.version
    assert kept == [THREE.version]
    superseded, final = audit(warehouse)[2:]
    assert superseded["reason"] == (
        f"superseded: the champion moved from {ONE.version} to {TWO.version} before {THREE.version} could serve"
    )
    assert (superseded["action"], superseded["previous"], superseded["promoted"]) == ("refuse", ONE.version, False)
    assert superseded["detail"]["champion"] == ONE.version
    assert (final["action"], final["previous"], final["run_id"]) == ("promote", TWO.version, "r3")
    assert store.manifest(MODEL, THREE.version).gate["detail"]["champion"] == TWO.version


def test_a_first_champion_that_comes_first_starts_another_round(store: ModelStore, warehouse: Warehouse) -> None:
    """Two first promotions at once: the slower one is compared with the faster one."""
    # The second read of the pointer is the one after the decision.
    late = watched(store, 2, lambda _: promote(store, warehouse, ONE, never, POLICY, "r1") and None)
    outcome = promote(late, warehouse, TWO, better, POLICY, "r2")
    assert outcome.decision.promote
    assert [(row["run_id"], row["previous"], row["reason"]) for row in audit(warehouse)] == [
        ("r1", None, FIRST),
        ("r2", None, f"superseded: the champion moved from none to {ONE.version} before {TWO.version} could serve"),
        ("r2", ONE.version, GAIN),
    ]


def test_a_champion_that_changes_before_the_swap_starts_another_round(store: ModelStore, warehouse: Warehouse) -> None:
    """The intent is closed as superseded; what was kept for the first round is not kept again."""
    promote(store, warehouse, ONE, never, POLICY, "r1")
    kept: list[str] = []

    def keep(candidate: Bundle) -> dict[str, str]:
        kept.append(candidate.version)
        promote(store, warehouse, TWO, better, POLICY, "r2")
        return {"dataset": "abc"}

    outcome = promote(store, warehouse, THREE, better, POLICY, "r3", keep=keep)
    assert (outcome.version, outcome.decision.promote, outcome.pointer) == (THREE.version, True, store.pointer(MODEL))
    assert kept == [THREE.version]
    assert [(row["run_id"], row["action"], row["promoted"]) for row in audit(warehouse)[2:]] == [
        ("r3", "refuse", False),
        ("r3", "promote", True),
    ]
    assert open_intents(warehouse, MODEL) == []
    assert store.manifest(MODEL, THREE.version).lineage["dataset"] == "abc"


def test_rounds_end(store: ModelStore, warehouse: Warehouse) -> None:
    """A champion that changes in every round: the candidate is rejected after as many rounds as the limit."""
    promote(store, warehouse, ONE, never, POLICY, "r1")
    others = [bundle(str(n).encode()) for n in range(MAX_ROUNDS + 1)]

    def compare(manifest: Manifest, files: Mapping[str, bytes]) -> Comparison:
        promote(store, warehouse, others.pop(), better, POLICY, "other")
        return BETTER

    outcome = promote(store, warehouse, TWO, compare, POLICY, "r2")
    assert len(others) == 1
    assert (outcome.version, outcome.decision.promote, outcome.pointer) == (TWO.version, False, store.pointer(MODEL))
    mine = [row for row in audit(warehouse) if row["run_id"] == "r2"]
    assert [row["action"] for row in mine] == ["refuse"] * MAX_ROUNDS
    assert outcome.decision.reason == mine[-1]["reason"]
    assert outcome.decision.detail["champion"] == mine[-1]["previous"]
    assert {version for version, _ in metrics(warehouse)}.isdisjoint({TWO.version})


def test_an_interrupted_promotion_is_completed_by_a_sweep(store: ModelStore, warehouse: Warehouse) -> None:
    """The warehouse fails after the swap: the sweep audits the promotion and stores its metrics, once."""

    def fail(fault: Fault) -> None:
        fault.down = "warehouse"

    # Points of the warehouse: open intents, blocked versions, the intent (before and after), then the audit row.
    away = WatchedWarehouse(warehouse, Fault(5, fail))
    with pytest.raises(MoveInterrupted) as caught:
        promote(store, away, ONE, never, POLICY, "r1")
    assert str(caught.value) == (
        f"promote of accidents {ONE.version} is recorded but not complete (connection refused); once store and "
        "warehouse are available, the platform's sensor completes it, or the same command repeated"
    )
    assert (serving(store), audit(warehouse), metrics(warehouse)) == (ONE.version, [], {})
    (row,) = sweep(store, warehouse, MODEL)
    assert (row["version"], row["action"], row["promoted"], row["reason"]) == (ONE.version, "promote", True, FIRST)
    assert [entry["run_id"] for entry in audit(warehouse)] == ["r1"]
    assert metrics(warehouse) == expected_metrics(store.manifest(MODEL, ONE.version))
    assert sweep(store, warehouse, MODEL) == []


def test_a_sweep_adds_missing_metrics_only(store: ModelStore, warehouse: Warehouse) -> None:
    """Metrics that are stored stay as they are; a model without a champion has none."""
    assert sweep(store, warehouse, MODEL) == []
    assert metrics(warehouse) == {}
    promote(store, warehouse, ONE, never, POLICY, "r1")
    with warehouse.begin() as connection:
        connection.execute(delete(model_metrics).where(model_metrics.c.metric == "ece"))
    assert sweep(store, warehouse, MODEL) == []
    assert [metric for _, metric in metrics(warehouse)] == ["roc_auc"]
    with warehouse.begin() as connection:
        connection.execute(delete(model_metrics))
    assert sweep(store, warehouse, MODEL) == []
    assert metrics(warehouse) == expected_metrics(store.manifest(MODEL, ONE.version))


def test_a_store_that_fails_before_the_swap_leaves_the_intent(store: ModelStore, warehouse: Warehouse) -> None:
    """The same run repeated completes its own promotion."""

    def fail(fault: Fault) -> None:
        fault.down = "store"

    # Reads of the pointer and writes: settle, after the decision, the file, the manifest (two points each), the swap.
    away = watched(store, 7, fail)
    with pytest.raises(MoveInterrupted, match=r"is recorded but not complete \(file://.* cannot be reached\)"):
        promote(away, warehouse, ONE, never, POLICY, "r1")
    assert store.pointer(MODEL) is None
    (intent,) = open_intents(warehouse, MODEL)
    assert intent["version"] == ONE.version
    again = promote(store, warehouse, ONE, never, POLICY, "r1")
    assert (again.decision.promote, again.pointer) == (True, store.pointer(MODEL))
    assert open_intents(warehouse, MODEL) == []


def test_a_store_that_fails_before_the_intent_is_an_error_of_the_store(store: ModelStore, warehouse: Warehouse) -> None:
    """Nothing is recorded: the run fails and may be repeated."""

    def fail(fault: Fault) -> None:
        fault.down = "store"

    with pytest.raises(StoreError, match=r"cannot be reached"):
        promote(watched(store, 3, fail), warehouse, ONE, never, POLICY, "r1")
    assert (open_intents(warehouse, MODEL), audit(warehouse)) == ([], [])
