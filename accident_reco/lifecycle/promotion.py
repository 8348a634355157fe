"""Carries the decision of `gate.decide` out: bundle first, then the audited move of the pointer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from accident_reco.lifecycle.bundle import Bundle, Manifest
from accident_reco.lifecycle.gate import Comparison, Decision, Evaluation, GatePolicy, decide
from accident_reco.lifecycle.intents import Outcome, move, settle, superseded
from accident_reco.lifecycle.store import ModelStore, Pointer
from accident_reco.storage.model_metrics import has_metrics, save_metrics
from accident_reco.storage.promotions import promotion_history, record_promotion, rolled_back_versions
from accident_reco.storage.warehouse import Warehouse

Compare = Callable[[Manifest, Mapping[str, bytes]], Comparison]
"""Champion's manifest and files → candidate against champion on the same holdout rows."""

MAX_ROUNDS = 3
"""How often a candidate is evaluated when the champion moves meanwhile."""


def promote(
    models: ModelStore,
    warehouse: Warehouse,
    candidate: Bundle,
    compare: Compare,
    policy: GatePolicy,
    run_id: str,
    problems: Sequence[str] = (),
    keep: Callable[[Bundle], Mapping[str, Any]] | None = None,
) -> Outcome:
    """Evaluate a candidate against the champion and let it serve if it won.

    A champion that moves meanwhile makes the round a refusal, audited as such, and the candidate is evaluated against
    the new one, `MAX_ROUNDS` times at most. Repeated by the run that promoted it, it returns the same outcome.

    Args:
        problems: of its data; they refuse it.
        keep: called once, with a candidate that won, before it is stored; what it returns is added to the lineage.

    Raises:
        MoveInterrupted: decided and written down; completed later.
        Exception: what `keep` raises; nothing changed.
    """
    kept: dict[str, Any] | None = None
    for _ in range(MAX_ROUNDS):
        seen, _swept = settle(models, warehouse, candidate.model)
        if seen is not None and (seen.version, seen.run_id) == (candidate.version, run_id):
            return _promoted_before(warehouse, candidate.model, seen)
        champion, comparison = None, None
        if seen is not None:
            manifest = models.manifest(candidate.model, seen.version)
            champion = Evaluation(manifest.version, manifest.metrics)
            if manifest.version != candidate.version:
                comparison = compare(manifest, models.files(manifest))
        barred = rolled_back_versions(warehouse, candidate.model)
        decision = decide(
            Evaluation(candidate.version, candidate.metrics), champion, comparison, policy, barred, problems
        )
        pointer = models.pointer(candidate.model)
        if (pointer.tag if pointer else None) != (seen.tag if seen else None):
            reason = superseded(candidate.version, seen.version if seen else None, pointer)
            outcome = _refuse(warehouse, candidate, Decision(False, reason, decision.detail), seen, pointer, run_id)
        elif not decision.promote:
            return _refuse(warehouse, candidate, decision, seen, pointer, run_id)
        else:
            if kept is None:
                kept = dict(keep(candidate)) if keep else {}
            stored = models.write(replace(candidate, gate=decision.document(), lineage={**candidate.lineage, **kept}))
            outcome = move(
                models, warehouse, stored, action="promote", seen=seen, decision=decision, run_id=run_id,
                requested_by="gate",
            )  # fmt: skip
            if outcome.decision.promote:
                _save_metrics(warehouse, stored)
                return outcome
    return outcome


def sweep(models: ModelStore, warehouse: Warehouse, model: str) -> list[dict[str, Any]]:
    """Complete what killed or interrupted movers left open, the champion's metrics included; needs the owner's rights.

    Returns:
        The audit rows that were missing.
    """
    pointer, audited = settle(models, warehouse, model)
    if pointer is not None and not has_metrics(warehouse, model, pointer.version):
        _save_metrics(warehouse, models.manifest(model, pointer.version))
    return audited


def _save_metrics(warehouse: Warehouse, manifest: Manifest) -> None:
    """For dashboards."""
    save_metrics(
        warehouse, manifest.model, manifest.version, manifest.metrics, manifest.data_source, manifest.created_at
    )


def _promoted_before(warehouse: Warehouse, model: str, pointer: Pointer) -> Outcome:
    """What the audit holds of the present pointer, for the run that moved it and was interrupted after that."""
    moves = (row for row in promotion_history(warehouse, model) if row["promoted"])
    detail: Mapping[str, Any] = next((row["detail"] for row in moves if row["run_id"] == pointer.run_id), {})
    return Outcome(pointer.version, Decision(True, pointer.reason, detail), pointer)


def _refuse(
    warehouse: Warehouse,
    candidate: Bundle,
    decision: Decision,
    seen: Pointer | None,
    pointer: Pointer | None,
    run_id: str,
) -> Outcome:
    record_promotion(
        warehouse,
        model=candidate.model,
        version=candidate.version,
        previous=seen.version if seen else None,
        action="refuse",
        promoted=False,
        reason=decision.reason,
        detail=decision.document()["detail"],
        run_id=run_id,
    )
    return Outcome(candidate.version, decision, pointer)
