"""Carries the retrain policy out: gathers what it needs from the warehouse, records what it says, queues the training.

Every trigger has an id of its own and is decided once: asked again (a tick that died half-way), the same answer and the
same request come back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from accident_reco.lifecycle.retrain_policy import (
    BUDGET_WINDOW,
    RetrainDecision,
    RetrainPolicy,
    RetrainState,
    Source,
    decide_retrain,
    may_ask_again,
)
from accident_reco.settings import Settings
from accident_reco.storage import drift_reports, retrain_decisions, work_requests
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import request_work


@dataclass(frozen=True)
class Trigger:
    """Something that may lead to a training.

    Args:
        id: what is decided once: a report's id, a request's id, a data version.
        evidence: what happened, in words.
        version: champion whose windows are the evidence, for hysteresis; None where no window is.
        request_id: the work request that the trigger is, where it is one.
    """

    model: str
    source: Source
    id: str
    evidence: str
    version: str | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class Considered:
    """What came of a trigger; `new` says whether it was decided just now."""

    action: str
    rule: str
    reason: str
    request_id: str | None
    new: bool


def policy_of(settings: Settings) -> RetrainPolicy:
    """The retrain policy as configured."""
    return RetrainPolicy(
        mode=settings.retrain_mode,
        needed=settings.retrain_needed,
        window=settings.retrain_window,
        cooldown=timedelta(seconds=settings.retrain_cooldown_seconds),
        daily_budget=settings.retrain_daily_budget,
        backoff=timedelta(seconds=settings.retrain_backoff_seconds),
    )


def consider(
    warehouse: Warehouse,
    policy: RetrainPolicy,
    trigger: Trigger,
    *,
    now: datetime,
    until: datetime | None = None,
    busy: str | None = None,
) -> Considered:
    """Decide on a trigger, record the decision with its reason, and queue the training if there is to be one.

    Args:
        until: leave drift reports after this time out, for a trigger that is looked at late.
        busy: a training that runs without a request (a person started it by hand).
    """
    known = retrain_decisions.find_decision(warehouse, trigger.model, trigger.source, trigger.id)
    if known is not None:
        return Considered(known["action"], known["rule"], known["reason"], known["request_id"], new=False)
    queued = work_requests.request_by_key(warehouse, _dedupe_key(trigger)) if trigger.request_id is None else None
    if queued is not None:
        # An earlier look was cut off after it had queued the training: what it decided stands.
        decision = RetrainDecision("train", "trigger", queued["reason"], {"source": trigger.source})
        return _record(warehouse, trigger, decision, queued["id"], now)
    decision = decide_retrain(
        trigger.source, trigger.evidence, state_of(warehouse, policy, trigger, now, until, busy), policy, now
    )
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


def state_of(
    warehouse: Warehouse,
    policy: RetrainPolicy,
    trigger: Trigger,
    now: datetime,
    until: datetime | None,
    busy: str | None = None,
) -> RetrainState:
    """What the policy has to know; a trigger that is a request itself is not in its own way."""
    windows = None
    if trigger.version is not None:
        windows = drift_reports.recent_verdicts(warehouse, trigger.model, trigger.version, until, policy.window)
    losses, last_loss_at = work_requests.consecutive_rejections(warehouse, trigger.model)
    since = now - max(BUDGET_WINDOW, policy.cooldown)
    return RetrainState(
        windows=windows,
        training=work_requests.open_training(warehouse, trigger.model, trigger.request_id) or busy,
        started=work_requests.automatic_trainings(warehouse, trigger.model, since, trigger.request_id),
        losses=losses,
        last_loss_at=last_loss_at,
    )


def held_back(warehouse: Warehouse, request: str, model: str, now: datetime) -> bool:
    """Whether the policy turned an alert's request down and may by now be asked again."""
    decided = retrain_decisions.find_decision(warehouse, model, "alert", request)
    if decided is None:
        return False
    until = decided["detail"].get("until")
    return may_ask_again(decided["action"], datetime.fromisoformat(until) if until else None, now)


def _dedupe_key(trigger: Trigger) -> str:
    return f"retrain:{trigger.model}:{trigger.source}:{trigger.id}"[:128]


def _record(
    warehouse: Warehouse, trigger: Trigger, decision: RetrainDecision, request_id: str | None, now: datetime
) -> Considered:
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
    kept = retrain_decisions.record_decision(warehouse, row)
    return Considered(kept["action"], kept["rule"], kept["reason"], kept["request_id"], new=True)
