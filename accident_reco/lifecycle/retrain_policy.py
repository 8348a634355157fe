"""Retrain decisions: whether a trigger starts a training. Pure: no storage, no clock.

The first rule that applies decides, and its reason is recorded. Reading the state and queueing trainings are in
`retrain_requests`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from accident_reco.settings import Settings

Mode = Literal["off", "suggest", "auto"]
Source = Literal["drift", "alert", "data", "performance", "api"]
Action = Literal["train", "suggest", "wait"]

MANUAL_SOURCES: frozenset[str] = frozenset({"api"})
"""Sources of requests by users, to which only the rule on repetitions applies: one training at a time runs anyway."""
NEW_DATA_SOURCES: frozenset[str] = frozenset({"data"})
"""Sources of new data, to which back-off does not apply: the candidate differs from the rejected one."""
BUDGET_WINDOW = timedelta(days=1)


@dataclass(frozen=True)
class RetrainPolicy:
    """Conditions of automatic trainings.

    Args:
        mode: `auto` trains, `suggest` only notifies, `off` does neither.
        needed: drifted windows among the last `window` that trigger a training; the latest must be one of them.
        window: number of latest reports on the present champion that count.
        cooldown: minimum time between two automatic trainings.
        daily_budget: maximum automatic trainings within 24 hours.
        backoff: wait after a candidate was rejected; doubles with each further rejection.
        backoff_limit: maximum of that wait.
    """

    mode: Mode = "auto"
    needed: int = 2
    window: int = 3
    cooldown: timedelta = timedelta(hours=6)
    daily_budget: int = 3
    backoff: timedelta = timedelta(hours=12)
    backoff_limit: timedelta = timedelta(days=7)

    def __post_init__(self) -> None:
        if not 1 <= self.needed <= self.window:
            raise ValueError(f"needed = {self.needed} must be between 1 and window = {self.window}")

    @classmethod
    def from_settings(cls, settings: Settings) -> RetrainPolicy:
        """The policy as configured."""
        return cls(
            mode=settings.retrain_mode,
            needed=settings.retrain_needed,
            window=settings.retrain_window,
            cooldown=timedelta(seconds=settings.retrain_cooldown_seconds),
            daily_budget=settings.retrain_daily_budget,
            backoff=timedelta(seconds=settings.retrain_backoff_seconds),
        )


@dataclass(frozen=True)
class RetrainState:
    """Inputs of a decision; times are UTC.

    Args:
        windows: whether each drift report on the present champion shows drift, newest first, without insufficient data;
            None for a trigger without windows.
        training: id of a training that is queued or running; None where there is none.
        started: start times of automatic trainings in any order, at least of the last 24 hours.
        rejections: automatic trainings that were rejected or failed since the last promotion.
        last_rejection_at: end of the last of these.
        repetition: why a training would only repeat an earlier one; None where it would not.
    """

    windows: Sequence[bool] | None = None
    training: str | None = None
    started: Sequence[datetime] = ()
    rejections: int = 0
    last_rejection_at: datetime | None = None
    repetition: str | None = None


@dataclass(frozen=True)
class RetrainDecision:
    """The action, with the reason.

    Args:
        rule: name of the rule that decided, for counting.
        until: end of the wait; None where it has no fixed end.
    """

    action: Action
    rule: str
    reason: str
    detail: dict[str, Any] = field(default_factory=dict)
    until: datetime | None = None


def decide_retrain(
    source: Source, evidence: str, state: RetrainState, policy: RetrainPolicy, now: datetime
) -> RetrainDecision:
    """Whether a trigger of `source` starts a training.

    Args:
        evidence: description of the trigger ("11 of 20 features drifted"), part of the reason.
    """
    recent = sum(1 for at in state.started if at > now - BUDGET_WINDOW)
    detail: dict[str, Any] = {
        "source": source,
        "mode": policy.mode,
        "windows": list((state.windows or ())[: policy.window]),
        "started_in_24_h": recent,
        "rejections": state.rejections,
    }

    def wait(rule: str, reason: str, until: datetime | None = None) -> RetrainDecision:
        return RetrainDecision("wait", rule, reason, detail, until)

    if source in MANUAL_SOURCES:
        if state.repetition is not None:
            return wait("unchanged", state.repetition)
        return RetrainDecision("train", "requested", f"requested by a user: {evidence}", detail)
    if policy.mode == "off":
        return wait("off", "automatic retraining is off")
    if source == "drift" or state.windows is not None:
        reason = _hysteresis(state.windows or (), policy)
        if reason:
            return wait("hysteresis", reason)
    if state.training is not None:
        return wait("single_flight", f"training {state.training} is in progress")
    until = _cooldown_ends(state, policy)
    if until is not None and now < until:
        last = _time(max(state.started))
        return wait("cooldown", f"cooling down until {_time(until)}: the last training started at {last}", until)
    if recent >= policy.daily_budget:
        until = _budget_returns(state, policy)
        return wait("budget", f"{recent} trainings in 24 hours, the budget is {policy.daily_budget}", until)
    until = None if source in NEW_DATA_SOURCES else _backoff_ends(state, policy)
    if until is not None and now < until:
        rejected = "1 rejection" if state.rejections == 1 else f"{state.rejections} consecutive rejections"
        return wait("backoff", f"backing off until {_time(until)}: {rejected}", until)
    if state.repetition is not None:
        return wait("unchanged", state.repetition)
    if policy.mode == "suggest":
        return RetrainDecision("suggest", "suggest", f"training is suggested: {evidence}", detail)
    return RetrainDecision("train", "trigger", evidence, detail)


def may_reevaluate(action: str, until: datetime | None, now: datetime) -> bool:
    """Whether a persisting trigger, such as an alert that still fires, is to be evaluated again.

    Only triggers that have to wait are: others have led to a training or a suggestion.
    """
    return action == "wait" and (until is None or now >= until)


def _hysteresis(windows: Sequence[bool], policy: RetrainPolicy) -> str:
    recent = list(windows[: policy.window])
    if not recent or not recent[0]:
        return "the latest window on the present champion has not drifted"
    drifted = sum(recent)
    if drifted < policy.needed:
        return f"{drifted} of the last {len(recent)} windows drifted, {policy.needed} of {policy.window} are needed"
    return ""


def _cooldown_ends(state: RetrainState, policy: RetrainPolicy) -> datetime | None:
    return max(state.started) + policy.cooldown if state.started else None


def _budget_returns(state: RetrainState, policy: RetrainPolicy) -> datetime | None:
    """The time at which the budget allows one more training; None for a budget of 0."""
    if policy.daily_budget == 0:
        return None
    return sorted(state.started)[-policy.daily_budget] + BUDGET_WINDOW


def _backoff_ends(state: RetrainState, policy: RetrainPolicy) -> datetime | None:
    if state.rejections == 0 or state.last_rejection_at is None:
        return None
    pause = policy.backoff
    for _ in range(state.rejections - 1):
        if pause >= policy.backoff_limit or not pause:
            break
        pause *= 2
    return state.last_rejection_at + min(pause, policy.backoff_limit)


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
