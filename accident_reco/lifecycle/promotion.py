"""Promotion: evaluates a candidate by `gate.decide`, stores its bundle, then moves the pointer, audited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from accident_reco.lifecycle.bundle import Bundle, Manifest
from accident_reco.lifecycle.gate import Comparison, Decision, Evaluation, GatePolicy, decide
from accident_reco.lifecycle.intents import Outcome, move, settle, superseded_reason
from accident_reco.lifecycle.rollout.control import Plan, start
from accident_reco.lifecycle.store import ModelStore, Pointer
from accident_reco.lifecycle.training_identity import IDENTITY
from accident_reco.storage.clock import utc_now
from accident_reco.storage.lifecycle import promotion_history, record_promotion, rolled_back_versions
from accident_reco.storage.model_metrics import has_metrics, save_metrics
from accident_reco.storage.warehouse import Warehouse

Compare = Callable[[Manifest, Mapping[str, bytes]], Comparison]
"""Champion's manifest and files → candidate against champion on the same holdout rows."""

MAX_ROUNDS = 3
"""Maximum evaluations of a candidate when the champion changes meanwhile."""


def promote(
    models: ModelStore,
    warehouse: Warehouse,
    candidate: Bundle,
    compare: Compare,
    policy: GatePolicy,
    run_id: str,
    problems: Sequence[str] = (),
    keep: Callable[[Bundle], Mapping[str, Any]] | None = None,
    rollout: Plan | None = None,
) -> Outcome:
    """Evaluate a candidate against the champion and promote it if it is better, or begin its rollout.

    Where the champion changes meanwhile, the round is audited as rejected, and the candidate is evaluated against the
    new one, at most `MAX_ROUNDS` times. Repeated by the run that promoted it, the same outcome is returned.

    Args:
        problems: failing checks of its data; any rejects it.
        keep: called once, before a candidate that passed is stored; its result is added to the lineage.
        rollout: how a candidate that passed proves itself against the champion; None: it becomes champion at once,
            as the first version does anyway.

    Raises:
        MoveInterrupted: decided and recorded; completed later.
        Exception: errors of `keep`; nothing changed.
    """
    kept: dict[str, Any] | None = None
    for _ in range(MAX_ROUNDS):
        expected, _ = settle(models, warehouse, candidate.model)
        if expected is not None and (expected.version, expected.run_id) == (candidate.version, run_id):
            return _promoted_before(warehouse, candidate.model, expected)
        champion, comparison = None, None
        if expected is not None:
            manifest = models.manifest(candidate.model, expected.version)
            champion = Evaluation(manifest.version, manifest.metrics)
            if manifest.version != candidate.version:
                comparison = compare(manifest, models.files(manifest))
        blocked = rolled_back_versions(warehouse, candidate.model)
        decision = decide(
            Evaluation(candidate.version, candidate.metrics), champion, comparison, policy, blocked, problems
        )
        pointer = models.pointer(candidate.model)
        if (pointer.tag if pointer else None) != (expected.tag if expected else None):
            reason = superseded_reason(candidate.version, expected.version if expected else None, pointer)
            outcome = _reject(warehouse, candidate, Decision(False, reason, decision.detail), expected, pointer, run_id)
        elif not decision.promote:
            # Only a decision of the gate is final for these inputs; a superseded candidate may be promoted later.
            identity = candidate.lineage.get(IDENTITY)
            detail = decision.detail if identity is None else {**decision.detail, IDENTITY: identity}
            return _reject(warehouse, candidate, replace(decision, detail=detail), expected, pointer, run_id)
        else:
            if kept is None:
                kept = dict(keep(candidate)) if keep else {}
            stored = models.write(replace(candidate, gate=decision.document(), lineage={**candidate.lineage, **kept}))
            if rollout is not None and expected is not None:
                return _begin(models, warehouse, stored, expected, rollout, decision, run_id)
            outcome = move(
                models,
                warehouse,
                stored,
                action="promote",
                expected=expected,
                decision=decision,
                run_id=run_id,
                requested_by="gate",
            )
            if outcome.decision.promote:
                _save_metrics(warehouse, stored)
                return outcome
    return outcome


def _begin(
    models: ModelStore,
    warehouse: Warehouse,
    stored: Manifest,
    pointer: Pointer,
    plan: Plan,
    decision: Decision,
    run_id: str,
) -> Outcome:
    """Begin a rollout; the pointer stays."""
    begun = start(models, warehouse, stored, pointer, plan, run_id=run_id, reason=decision.reason, now=utc_now())
    reason = f"{begun.mode} begun beside {pointer.version}: {decision.reason}"
    return Outcome(stored.version, Decision(False, reason, decision.detail), pointer)


def sweep(models: ModelStore, warehouse: Warehouse, model: str) -> list[dict[str, Any]]:
    """Complete interrupted moves, the champion's metrics included. Needs the rights of the database's owner.

    Returns:
        The audit rows that were written.
    """
    pointer, audited = settle(models, warehouse, model)
    if pointer is not None and not has_metrics(warehouse, model, pointer.version):
        _save_metrics(warehouse, models.manifest(model, pointer.version))
    return audited


def _save_metrics(warehouse: Warehouse, manifest: Manifest) -> None:
    save_metrics(
        warehouse, manifest.model, manifest.version, manifest.metrics, manifest.data_source, manifest.created_at
    )


def _promoted_before(warehouse: Warehouse, model: str, pointer: Pointer) -> Outcome:
    """The outcome of the present pointer's promotion, for the run that moved it and was interrupted afterwards."""
    moves = (row for row in promotion_history(warehouse, model) if row["promoted"])
    detail: Mapping[str, Any] = next((row["detail"] for row in moves if row["run_id"] == pointer.run_id), {})
    return Outcome(pointer.version, Decision(True, pointer.reason, detail), pointer)


def _reject(
    warehouse: Warehouse,
    candidate: Bundle,
    decision: Decision,
    expected: Pointer | None,
    pointer: Pointer | None,
    run_id: str,
) -> Outcome:
    record_promotion(
        warehouse,
        model=candidate.model,
        version=candidate.version,
        previous=expected.version if expected else None,
        action="refuse",
        promoted=False,
        reason=decision.reason,
        detail=decision.document()["detail"],
        run_id=run_id,
    )
    return Outcome(candidate.version, decision, pointer)
