"""Evaluates triggers by the retrain policy: loads its inputs, records the decision, queues the training.

Every trigger has an id and is decided once: evaluated again (after a tick that was killed), it has the same outcome and
the same request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from accident_reco.lifecycle.retrain_policy import (
    BUDGET_WINDOW,
    RetrainDecision,
    RetrainPolicy,
    RetrainState,
    Source,
    decide_retrain,
    may_reevaluate,
)
from accident_reco.storage import drift_reports, retrain_decisions, work_requests
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import request_work


@dataclass(frozen=True)
class Trigger:
    """An event that may start a training.

    Args:
        id: key of the decision: id of a report or request, or a data version.
        evidence: description, part of the reason.
        version: champion whose windows count for hysteresis; None for a trigger without windows.
        request_id: id of the work request, for a trigger that is one.
    """

    model: str
    source: Source
    id: str
    evidence: str
    version: str | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class TriggerOutcome:
    """The decision on a trigger; `new` where it was made by this call."""

    action: str
    rule: str
    reason: str
    request_id: str | None
    new: bool


def evaluate_trigger(
    warehouse: Warehouse,
    policy: RetrainPolicy,
    trigger: Trigger,
    *,
    now: datetime,
    until: datetime | None = None,
    busy: str | None = None,
    repetition: Callable[[], str | None] = lambda: None,
) -> TriggerOutcome:
    """Decide on a trigger, record the decision, and queue the training where there is to be one.

    Args:
        until: time after which drift reports do not count, for a trigger that is evaluated late.
        busy: id of a training that runs without a request, started by hand.
        repetition: returns why a training would only repeat an earlier one, or None; called last, since it reads more
            than the other rules.
    """
    known = retrain_decisions.find_decision(warehouse, trigger.model, trigger.source, trigger.id)
    if known is not None:
        return TriggerOutcome(known["action"], known["rule"], known["reason"], known["request_id"], new=False)
    queued = work_requests.request_by_key(warehouse, _dedupe_key(trigger)) if trigger.request_id is None else None
    if queued is not None:
        # An earlier evaluation was interrupted after it had queued the training: its decision stands.
        decision = RetrainDecision("train", "trigger", queued["reason"], {"source": trigger.source})
        return _record(warehouse, trigger, decision, queued["id"], now)
    state = _load_state(warehouse, policy, trigger, now, until, busy)
    decision = decide_retrain(trigger.source, trigger.evidence, state, policy, now)
    if decision.action != "wait":
        state = replace(state, repetition=repetition())
        decision = decide_retrain(trigger.source, trigger.evidence, state, policy, now)
    request_id = trigger.request_id
    if decision.action == "train" and request_id is None:
        request, _ = request_work(
            warehouse,
            kind="training",
            model=trigger.model,
            source=trigger.source,
            requested_by="retrain policy",
            reason=decision.reason,
            detail={"trigger": trigger.id},
            dedupe_key=_dedupe_key(trigger),
        )
        request_id = request["id"]
    return _record(warehouse, trigger, decision, request_id if decision.action == "train" else None, now)


def _load_state(
    warehouse: Warehouse,
    policy: RetrainPolicy,
    trigger: Trigger,
    now: datetime,
    until: datetime | None,
    busy: str | None = None,
) -> RetrainState:
    """Inputs of the policy; a trigger that is a request does not count as a training in progress."""
    windows = None
    if trigger.version is not None:
        windows = drift_reports.recent_verdicts(warehouse, trigger.model, trigger.version, until, policy.window)
    rejections, last_rejection_at = work_requests.consecutive_rejections(warehouse, trigger.model)
    since = now - max(BUDGET_WINDOW, policy.cooldown)
    return RetrainState(
        windows=windows,
        training=work_requests.open_training(warehouse, trigger.model, trigger.request_id) or busy,
        started=work_requests.automatic_trainings(warehouse, trigger.model, since, trigger.request_id),
        rejections=rejections,
        last_rejection_at=last_rejection_at,
    )


def may_request_again(warehouse: Warehouse, request_id: str, model: str, now: datetime) -> bool:
    """Whether the request of an alert had to wait and the alert may now make another one."""
    decided = retrain_decisions.find_decision(warehouse, model, "alert", request_id)
    if decided is None:
        return False
    until = decided["detail"].get("until")
    return may_reevaluate(decided["action"], datetime.fromisoformat(until) if until else None, now)


def _dedupe_key(trigger: Trigger) -> str:
    return f"retrain:{trigger.model}:{trigger.source}:{trigger.id}"[:128]


def _record(
    warehouse: Warehouse, trigger: Trigger, decision: RetrainDecision, request_id: str | None, now: datetime
) -> TriggerOutcome:
    row: dict[str, Any] = {
        "model": trigger.model,
        "source": trigger.source,
        "trigger_id": trigger.id,
        "action": decision.action,
        "rule": decision.rule,
        "reason": decision.reason,
        "detail": decision.detail | ({"until": decision.until.isoformat()} if decision.until else {}),
        "request_id": request_id,
        "decided_at": now.astimezone(UTC),
    }
    recorded = retrain_decisions.record_decision(warehouse, row)
    return TriggerOutcome(recorded["action"], recorded["rule"], recorded["reason"], recorded["request_id"], new=True)
