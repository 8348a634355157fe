"""Carries a decision out: bundle first, pointer last, then the audit. The decision itself is `gate.decide`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from accident_reco.lifecycle.bundle import Bundle, Manifest
from accident_reco.lifecycle.gate import Comparison, Decision, Evaluation, GatePolicy, decide
from accident_reco.lifecycle.store import ModelStore, NoSuchVersion, Pointer
from accident_reco.storage.lifecycle import record_promotion, rolled_back_versions, save_metrics
from accident_reco.storage.warehouse import Warehouse

Compare = Callable[[Manifest, Mapping[str, bytes]], Comparison]
"""Champion's manifest and files → candidate against champion on the same holdout rows."""


@dataclass(frozen=True)
class Outcome:
    """What came of a candidate: the decision and the pointer as it stands now."""

    version: str
    decision: Decision
    pointer: Pointer | None


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
    """Judge a candidate against the champion and let it serve if it won.

    Args:
        problems: of its data; they refuse it.
        keep: called with a candidate that won, before it is stored; what it gives is added to the lineage.

    Raises:
        SwapConflict: another promotion came between; nothing changed but a complete, unused version.
        Exception: what `keep` raises; nothing changed.
    """
    seen = models.pointer(candidate.model)
    champion, comparison = None, None
    if seen is not None:
        manifest = models.manifest(candidate.model, seen.version)
        champion = Evaluation(manifest.version, manifest.metrics)
        if manifest.version != candidate.version:
            comparison = compare(manifest, models.files(manifest))
    barred = rolled_back_versions(warehouse, candidate.model)
    decision = decide(Evaluation(candidate.version, candidate.metrics), champion, comparison, policy, barred, problems)
    pointer = seen
    if decision.promote:
        kept = keep(candidate) if keep else {}
        stored = models.write(replace(candidate, gate=decision.document(), lineage={**candidate.lineage, **kept}))
        pointer = models.point(stored, seen=seen, run_id=run_id, reason=decision.reason)
        # For dashboards; a load of the warehouse fills in what a killed process left out.
        save_metrics(warehouse, stored.model, stored.version, stored.metrics, stored.data_source, stored.created_at)
    record_promotion(
        warehouse,
        model=candidate.model,
        version=candidate.version,
        previous=seen.version if seen else None,
        action="promote" if decision.promote else "refuse",
        promoted=decision.promote,
        reason=decision.reason,
        detail=decision.document()["detail"],
        run_id=run_id,
    )
    return Outcome(candidate.version, decision, pointer)


def rollback(
    models: ModelStore,
    warehouse: Warehouse,
    model: str,
    policy: GatePolicy,
    run_id: str,
    version: str | None = None,
    asked_by: str = "operator",
) -> Outcome:
    """Let an older version serve again: `version`, or the one before the present champion.

    Raises:
        NoSuchVersion: there is nothing to roll back to, or the store lacks that version.
        SwapConflict: another promotion came between.
    """
    seen = models.pointer(model)
    target = version or (seen.previous if seen else None)
    if seen is None or target is None:
        raise NoSuchVersion(f"{model} has no earlier version to roll back to")
    manifest = models.manifest(model, target)
    models.files(manifest)  # never point at what does not load
    decision = decide(Evaluation(target, manifest.metrics), None, None, policy)
    if target == seen.version:
        decision = Decision(False, f"{target} serves already", decision.detail)
    elif decision.promote:
        decision = Decision(True, f"rolled back from {seen.version} to {target} by {asked_by}", decision.detail)
    pointer = seen
    if decision.promote:
        pointer = models.point(manifest, seen=seen, run_id=run_id, reason=decision.reason)
    record_promotion(
        warehouse,
        model=model,
        version=target,
        previous=seen.version,
        action="rollback",
        promoted=decision.promote,
        reason=decision.reason,
        detail=decision.document()["detail"],
        run_id=run_id,
    )
    return Outcome(target, decision, pointer)
