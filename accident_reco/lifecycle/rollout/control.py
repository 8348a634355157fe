"""Carries out the decisions of a rollout: start, step, end. The pointer moves first, then the state, then the audit.

Killed in between, the champion of the pointer serves, and the next `settle` completes state and audit: a state that the
pointer contradicts is over, and the audit rows have the ids of the state's decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from accident_reco.lifecycle import intents
from accident_reco.lifecycle.bundle import Manifest
from accident_reco.lifecycle.gate import Decision
from accident_reco.lifecycle.rollout.decision import Evidence, RolloutPolicy, Step
from accident_reco.lifecycle.rollout.state import Mode, Outcome, Rollout, find_end, read_rollout, write_rollout
from accident_reco.lifecycle.store import ModelStore, Pointer
from accident_reco.lifecycle.training_identity import IDENTITY
from accident_reco.storage.lifecycle import record_decision_once
from accident_reco.storage.warehouse import Warehouse

ACTION_PREFIX: Final = "rollout_"
"""Prefix of a rollout's actions in the audit: start, advance, promote, back, abort, replace, end."""
RUN_PREFIX: Final = "rollout:"
"""Prefix of the run id of a promotion by a rollout, followed by the version."""


@dataclass(frozen=True)
class Plan:
    """How a version that passed the gate is rolled out.

    Args:
        steps: shares of a canary before the whole traffic, ascending; none for a shadow.
        budget: maximum duration.
    """

    mode: Mode
    steps: tuple[float, ...]
    budget: timedelta
    policy: RolloutPolicy


def start(
    models: ModelStore,
    warehouse: Warehouse,
    manifest: Manifest,
    pointer: Pointer,
    plan: Plan,
    *,
    run_id: str,
    reason: str,
    now: datetime,
) -> Rollout:
    """Begin the rollout of a stored version; one that runs is replaced, since the new one was trained on newer data.

    Repeated by the same run, the rollout that it began is returned.

    Raises:
        SwapConflict: another process changed the state meanwhile.
    """
    before = settle(models, warehouse, manifest.model, now)
    if before is not None and (before.challenger, before.run_id) == (manifest.version, run_id):
        return before
    if before is not None and before.is_running:
        before = _end(models, warehouse, before, "replaced", "replace", f"replaced by {manifest.version}", "gate", now)
    at = now.isoformat()
    begun = Rollout(
        model=manifest.model,
        champion=pointer.version,
        challenger=manifest.version,
        manifest_sha256=manifest.sha256,
        mode=plan.mode,
        share=plan.steps[0] if plan.mode == "canary" else 0.0,
        steps=plan.steps if plan.mode == "canary" else (),
        since=at,
        step_since=at,
        ends=(now + plan.budget).isoformat(),
        rule=plan.policy.document(),
        run_id=run_id,
    )
    return _write(models, warehouse, begun.decided(at, "start", f"{plan.mode}: {reason}", "gate"), before)


def settle(models: ModelStore, warehouse: Warehouse, model: str, now: datetime) -> Rollout | None:
    """The latest rollout, ended where the pointer has moved, with every decision in the audit; None: there is none."""
    rollout = read_rollout(models, model)
    if rollout is None:
        return None
    if rollout.is_running and (ended := find_end(rollout, models.pointer(model))) is not None:
        outcome, reason = ended
        return _end(models, warehouse, rollout, outcome, "end", reason, "platform", now)
    _audit(models, warehouse, rollout)
    return rollout


def carry_out(
    models: ModelStore,
    warehouse: Warehouse,
    rollout: Rollout,
    step: Step,
    *,
    by: str,
    now: datetime,
    evidence: Evidence | None = None,
) -> Rollout:
    """Carry out a decision on a running rollout; returns its state afterwards.

    Args:
        by: account or component that decided.
        evidence: what it is based on, kept in the state's curve.

    Raises:
        SwapConflict: another process changed the state meanwhile; nothing else happened.
        MoveInterrupted: the promotion is recorded and will be completed.
    """
    at = now.isoformat()
    if evidence is not None:
        # The tag stays that of the stored state, for compare-and-swap.
        rollout = rollout.evaluated(at, step.action, step.reason, evidence.document())
    if step.action == "hold":
        return write_rollout(models, rollout, rollout)
    if step.action == "advance":
        advanced = rollout.decided(at, "advance", step.reason, by, share=step.share, step_since=at)
        return _write(models, warehouse, advanced, rollout)
    if step.action == "promote":
        return _promote(models, warehouse, rollout, step, by, now)
    return _end(models, warehouse, rollout, "rolled_back", "back", step.reason, by, now)


def abort(
    models: ModelStore, warehouse: Warehouse, rollout: Rollout, *, by: str, reason: str, now: datetime
) -> Rollout:
    """End a rollout by a person's decision; the champion stays. Raises SwapConflict."""
    return _end(models, warehouse, rollout, "aborted", "abort", reason, by, now)


def _promote(models: ModelStore, warehouse: Warehouse, rollout: Rollout, step: Step, by: str, now: datetime) -> Rollout:
    pointer, _ = intents.settle(models, warehouse, rollout.model)
    if pointer is not None and pointer.version == rollout.champion:
        manifest = models.manifest(rollout.model, rollout.challenger)
        intents.move(
            models,
            warehouse,
            manifest,
            action="promote",
            expected=pointer,
            decision=Decision(True, f"{rollout.mode} passed: {step.reason}", manifest.gate.get("detail", {})),
            run_id=f"{RUN_PREFIX}{rollout.challenger}",
            requested_by=by,
        )
        pointer = models.pointer(rollout.model)
    outcome, reason = find_end(rollout, pointer) or ("superseded", "the pointer did not move")
    action = "promote" if outcome == "promoted" else "end"
    return _end(models, warehouse, rollout, outcome, action, step.reason if outcome == "promoted" else reason, by, now)


def _end(
    models: ModelStore,
    warehouse: Warehouse,
    rollout: Rollout,
    outcome: Outcome,
    action: str,
    reason: str,
    by: str,
    now: datetime,
) -> Rollout:
    share = 1.0 if outcome == "promoted" else 0.0
    ended = rollout.decided(now.isoformat(), action, reason, by, share=share, outcome=outcome)
    return _write(models, warehouse, ended, rollout)


def _write(models: ModelStore, warehouse: Warehouse, rollout: Rollout, expected: Rollout | None) -> Rollout:
    written = write_rollout(models, rollout, expected)
    _audit(models, warehouse, written)
    return written


def _audit(models: ModelStore, warehouse: Warehouse, rollout: Rollout) -> None:
    """Write the state's decisions to the audit, those that it has not yet."""
    identity = models.manifest(rollout.model, rollout.challenger).lineage.get(IDENTITY)
    detail: dict[str, Any] = {"mode": rollout.mode} | ({} if identity is None else {IDENTITY: identity})
    record_decision_once(warehouse, [_audit_row(rollout, decision, detail) for decision in rollout.decisions])


def _audit_row(rollout: Rollout, decision: Mapping[str, Any], detail: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": decision["id"],
        "model": rollout.model,
        "version": rollout.challenger,
        "previous": rollout.champion,
        "action": f"{ACTION_PREFIX}{decision['action']}",
        "promoted": False,
        "reason": decision["reason"],
        "detail": {**detail, "share": decision["share"], "by": decision["by"]},
        # The start belongs to the training's run; what follows has no run.
        "run_id": rollout.run_id if decision["action"] == "start" else f"{RUN_PREFIX}{rollout.challenger}",
    }
