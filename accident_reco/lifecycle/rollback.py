"""Rollback as every way to it calls it: API, Dagster job and asset, command line. The champion's own policy decides."""

from __future__ import annotations

from dataclasses import dataclass

from accident_reco.lifecycle.gate import Decision, Evaluation, GatePolicy, decide
from accident_reco.lifecycle.intents import Outcome, move, outcome_of, settle
from accident_reco.lifecycle.store import ModelStore, NoEarlierVersion, NoSuchVersion, Pointer
from accident_reco.storage.promotions import record_promotion, rolled_back_versions, served_versions
from accident_reco.storage.warehouse import Warehouse


@dataclass(frozen=True)
class Plan:
    """Where a rollback leads.

    Args:
        seen: the pointer that it would replace.
        completed: an interrupted rollback that was completed just now and is what was requested; nothing is left to do.
    """

    target: str
    seen: Pointer
    completed: Outcome | None = None


def roll_back(
    models: ModelStore, warehouse: Warehouse, model: str, *, version: str | None, asked_by: str, run_id: str
) -> Outcome:
    """Let `version` serve again, or the last one before the champion that was not rolled back itself.

    Audited, and the version left behind is blocked from promotion until a person lets it serve again. Repeated after an
    interruption, it returns the outcome of the interrupted one. The floor is the one that the champion was promoted by,
    as its manifest records it.

    Raises:
        NoSuchVersion: there is nothing to roll back to, or the store lacks that version.
        SQLAlchemyError: the warehouse failed before anything moved.
        MoveInterrupted: decided and written down; completed later.
    """
    planned = plan(models, warehouse, model, version)
    if planned.completed is not None:
        return planned.completed
    seen, target = planned.seen, planned.target
    policy = models.promoted_manifest(model, seen).gate.get("detail", {}).get("policy")
    if not policy:
        raise NoSuchVersion(f"{model} {seen.version} does not record the gate policy that let it serve")
    manifest = models.manifest(model, target)
    models.files(manifest)  # never point at what does not load
    decision = decide(Evaluation(target, manifest.metrics), None, None, GatePolicy(**policy))
    if target == seen.version:
        decision = Decision(False, f"{target} serves already", decision.detail)
    if decision.promote:
        decision = Decision(True, f"rolled back from {seen.version} to {target} by {asked_by}", decision.detail)
        return move(
            models, warehouse, manifest, action="rollback", seen=seen, decision=decision, run_id=run_id,
            requested_by=asked_by,
        )  # fmt: skip
    record_promotion(
        warehouse,
        model=model,
        version=target,
        previous=seen.version,
        action="rollback",
        promoted=False,
        reason=decision.reason,
        detail=decision.document()["detail"],
        run_id=run_id,
    )
    return Outcome(target, decision, seen)


def plan(models: ModelStore, warehouse: Warehouse, model: str, version: str | None) -> Plan:
    """Complete interrupted rollbacks, and find where a rollback to `version` (None: by itself) leads.

    Raises:
        NoSuchVersion: no version serves.
        NoEarlierVersion: no version is named, and none is left that was not rolled back.
    """
    seen, audited = settle(models, warehouse, model, promotions_wait=True)
    if seen is None:
        raise NoSuchVersion(f"no {model} version serves: there is nothing to roll back from")
    for row in reversed(audited):
        if row["action"] == "rollback" and row["promoted"] and row["version"] == seen.version:
            if version in (None, seen.version):
                return Plan(seen.version, seen, outcome_of(row, seen))
            break
    return Plan(version or _earlier(warehouse, model, seen), seen)


def _earlier(warehouse: Warehouse, model: str, seen: Pointer) -> str:
    """The last version that served, is not the champion and was not rolled back itself."""
    left_out = {seen.version, *(barred := rolled_back_versions(warehouse, model))}
    before = [seen.previous] if seen.previous else []  # of a pointer whose past is not in the audit
    for version in reversed(before + served_versions(warehouse, model)):
        if version not in left_out:
            return version
    fix = f"rolled back themselves: {', '.join(barred)}; name one to let it serve again (--version)" if barred else ""
    raise NoEarlierVersion(f"{model} has no earlier version to roll back to" + (f"; {fix}" if fix else ""))
