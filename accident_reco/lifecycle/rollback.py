"""Rollback of a champion, for API, Dagster and command line. The gate policy in the champion's manifest applies."""

from __future__ import annotations

from dataclasses import dataclass

from accident_reco.lifecycle.gate import Decision, Evaluation, GatePolicy, decide
from accident_reco.lifecycle.intents import Outcome, move, settle, superseded_reason
from accident_reco.lifecycle.store import ModelStore, NoEarlierVersion, NoSuchVersion, Pointer
from accident_reco.storage.lifecycle import record_promotion, rolled_back_versions, served_versions
from accident_reco.storage.warehouse import Warehouse


class UncertainChampion(RuntimeError):
    """The pointer that was read last is not the champion of the audit, so neither can say what is earlier."""


@dataclass(frozen=True)
class Plan:
    """The target of a rollback.

    Args:
        expected: the pointer that it replaces.
        completed: outcome of the requested rollback where it was interrupted earlier and has been completed.
    """

    target: str
    expected: Pointer
    completed: Outcome | None = None


def roll_back(
    models: ModelStore,
    warehouse: Warehouse,
    model: str,
    *,
    version: str | None,
    requested_by: str,
    run_id: str,
    reason: str = "",
    replaces: str | None = None,
) -> Outcome:
    """Make `version` the champion again; None: the latest earlier one that was not rolled back itself.

    Repeated after an interruption, the outcome of the interrupted rollback is returned.

    Args:
        reason: the operator's, added to the audited one.
        replaces: champion when the rollback was requested; with another one now, the rollback is rejected, since it
            would block a version that no user rolled back from. None: whichever is champion.

    Raises: as `plan` and `carry_out`.
    """
    planned = plan(models, warehouse, model, version)
    return carry_out(
        models, warehouse, model, planned, requested_by=requested_by, run_id=run_id, reason=reason, replaces=replaces
    )


def carry_out(
    models: ModelStore,
    warehouse: Warehouse,
    model: str,
    planned: Plan,
    *,
    requested_by: str,
    run_id: str,
    reason: str = "",
    replaces: str | None = None,
) -> Outcome:
    """Move the pointer to the target of a plan unless it has moved since.

    Audited, and the replaced version is blocked from promotion until a user makes it champion again. The floor is that
    of the gate policy in the champion's manifest.

    Args:
        reason: the operator's, added to the audited one.
        replaces: as in `roll_back`.

    Raises:
        NoSuchVersion: there is no version to roll back to, or the store does not have it.
        SQLAlchemyError: the warehouse failed before anything moved.
        MoveInterrupted: decided and recorded; completed later.
    """
    if planned.completed is not None:
        return planned.completed
    expected, target = planned.expected, planned.target
    policy = models.promoted_manifest(model, expected).gate.get("detail", {}).get("policy")
    if not policy:
        raise NoSuchVersion(f"{model} {expected.version} has no gate policy in its manifest")
    manifest = models.manifest(model, target)
    models.files(manifest)  # raises where the version cannot be loaded
    decision = decide(Evaluation(target, manifest.metrics), None, None, GatePolicy(**policy))
    if target == expected.version:
        decision = Decision(False, f"{target} serves already", decision.detail)
    elif replaces is not None and replaces != expected.version:
        decision = Decision(False, superseded_reason(target, replaces, expected), decision.detail)
    if decision.promote:
        moved = f"rolled back from {expected.version} to {target} by {requested_by}"
        decision = Decision(True, f"{moved}: {reason}" if reason else moved, decision.detail)
        return move(
            models,
            warehouse,
            manifest,
            action="rollback",
            expected=expected,
            decision=decision,
            run_id=run_id,
            requested_by=requested_by,
        )
    record_promotion(
        warehouse,
        model=model,
        version=target,
        previous=expected.version,
        action="rollback",
        promoted=False,
        reason=decision.reason,
        detail=decision.document()["detail"],
        run_id=run_id,
    )
    return Outcome(target, decision, expected)


def plan(models: ModelStore, warehouse: Warehouse, model: str, version: str | None) -> Plan:
    """Complete interrupted rollbacks, and find the target of a rollback to `version` (None: the latest earlier one).

    Raises:
        NoSuchVersion: there is no champion.
        NoEarlierVersion: `version` is None, and every earlier version was rolled back.
    """
    expected, audited = settle(models, warehouse, model, promotions_wait=True)
    if expected is None:
        raise NoSuchVersion(f"no {model} version serves: there is nothing to roll back from")
    for row in reversed(audited):
        if row["action"] == "rollback" and row["promoted"] and row["version"] == expected.version:
            if version in (None, expected.version):
                return Plan(expected.version, expected, Outcome.from_audit_row(row, expected))
            break
    return Plan(version or _earlier(warehouse, model, expected), expected)


def find_champion_offline(warehouse: Warehouse, model: str, known: Pointer) -> str:
    """The champion by the audit while the store cannot be read; without an audit the pointer that was read last."""
    served = served_versions(warehouse, model)
    return served[-1] if served else known.version


def find_target_offline(warehouse: Warehouse, model: str, known: Pointer, version: str | None) -> str:
    """The target of a rollback to `version` (None: the latest earlier one) while the store cannot be read.

    Whether the store has a named version, and whether it serves already, is left to the rollback itself.

    Args:
        known: the pointer that was read last, perhaps from a cache.

    Raises:
        UncertainChampion: `version` is None, and the audit has another champion than `known`.
        NoEarlierVersion: `version` is None, and every earlier version was rolled back.
    """
    if version is not None:
        return version
    champion = find_champion_offline(warehouse, model, known)
    if champion != known.version:
        raise UncertainChampion(f"{known.version} serves here while {champion} was promoted last")
    return _earlier(warehouse, model, known)


def _earlier(warehouse: Warehouse, model: str, champion: Pointer) -> str:
    """The latest version that was champion before and was not rolled back."""
    excluded = {champion.version, *(blocked := rolled_back_versions(warehouse, model))}
    before = [champion.previous] if champion.previous else []  # where the audit lacks it
    for version in reversed(before + served_versions(warehouse, model)):
        if version not in excluded:
            return version
    fix = f"rolled back themselves: {', '.join(blocked)}; name one to roll back to it (--version)" if blocked else ""
    raise NoEarlierVersion(f"{model} has no earlier version to roll back to" + (f"; {fix}" if fix else ""))
