"""Decides whether a trigger leads to a training run. Pure: no storage, no clock; callers pass what it needs.

The first rule that applies decides, and its sentence is the recorded reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

Mode = Literal["off", "suggest", "auto"]
Source = Literal["drift", "alert", "data", "performance", "api"]
Action = Literal["train", "suggest", "wait"]

ASKED_BY_A_PERSON: frozenset[str] = frozenset({"api"})
"""Sources that only single flight holds back: a person with the right to train has decided already."""
BRINGS_NEW_DATA: frozenset[str] = frozenset({"data"})
"""Sources after which training gives another model than the one that lost: back-off has no reason then."""
BUDGET_WINDOW = timedelta(days=1)


@dataclass(frozen=True)
class RetrainPolicy:
    """How ready the platform is to train by itself.

    Args:
        mode: `auto` trains, `suggest` says that it would, `off` does neither.
        needed: windows of the last `window` that must have drifted, the latest among them.
        window: how many of the latest reports on the present champion count.
        cooldown: least time between two trainings that nobody asked for.
        daily_budget: most trainings that nobody asked for within 24 hours.
        backoff: wait after a candidate lost; doubles with each further loss.
        backoff_limit: longest such wait.
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
            raise ValueError(f"needed = {self.needed} must lie between 1 and window = {self.window}")


@dataclass(frozen=True)
class RetrainState:
    """What is known when a trigger arrives; times are UTC.

    Args:
        windows: whether each drift report on the present champion was red, newest first (insufficient data left out);
            None for a trigger whose evidence is no window.
        training: id of a training that is queued or runs, if one does.
        started: when trainings that nobody asked for were started, any order; the last day is enough for the budget.
        losses: candidates of such trainings that lost in a row since the last promotion.
        last_loss_at: when the last of them lost.
    """

    windows: Sequence[bool] | None = None
    training: str | None = None
    started: Sequence[datetime] = ()
    losses: int = 0
    last_loss_at: datetime | None = None


@dataclass(frozen=True)
class RetrainDecision:
    """What to do, and in words why.

    Args:
        rule: names the sentence's kind, for counting.
        until: when the rule that holds a trigger back lets go of it; None where no clock says.
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
        evidence: the trigger in words ("11 of 20 features drifted"); becomes part of the reason.
    """
    recent = sum(1 for at in state.started if at > now - BUDGET_WINDOW)
    detail: dict[str, Any] = {
        "source": source,
        "mode": policy.mode,
        "windows": list((state.windows or ())[: policy.window]),
        "started_in_24_h": recent,
        "losses": state.losses,
    }

    def wait(rule: str, reason: str, until: datetime | None = None) -> RetrainDecision:
        return RetrainDecision("wait", rule, reason, detail, until)

    if source in ASKED_BY_A_PERSON:
        if state.training is not None:
            return wait("single_flight", f"training {state.training} is under way")
        return RetrainDecision("train", "asked", f"a person asked: {evidence}", detail)
    if policy.mode == "off":
        return wait("off", "automatic retraining is off")
    if source == "drift" or state.windows is not None:
        held = _hysteresis(state.windows or (), policy)
        if held:
            return wait("hysteresis", held)
    if state.training is not None:
        return wait("single_flight", f"training {state.training} is under way")
    until = _cooldown_ends(state, policy)
    if until is not None and now < until:
        last = _time(max(state.started))
        return wait("cooldown", f"cooling down until {_time(until)}: the last training started at {last}", until)
    if recent >= policy.daily_budget:
        until = _budget_returns(state, policy)
        return wait("budget", f"{recent} trainings in 24 hours, the budget is {policy.daily_budget}", until)
    until = None if source in BRINGS_NEW_DATA else _backoff_ends(state, policy)
    if until is not None and now < until:
        lost = "the last candidate lost" if state.losses == 1 else f"{state.losses} candidates lost in a row"
        return wait("backoff", f"backing off until {_time(until)}: {lost}", until)
    if policy.mode == "suggest":
        return RetrainDecision("suggest", "suggest", f"training is suggested: {evidence}", detail)
    return RetrainDecision("train", "trigger", evidence, detail)


def may_ask_again(action: str, until: datetime | None, now: datetime) -> bool:
    """Whether a trigger that goes on, such as an alert that still fires, may be put to the policy anew.

    Only what was held back may: a trigger that led to a training or a suggestion has had what it asked for.
    """
    return action == "wait" and (until is None or now >= until)


def _hysteresis(windows: Sequence[bool], policy: RetrainPolicy) -> str:
    recent = list(windows[: policy.window])
    if not recent or not recent[0]:
        return "the latest window on the present champion has not drifted"
    red = sum(recent)
    if red < policy.needed:
        return f"{red} of the last {len(recent)} windows drifted, {policy.needed} of {policy.window} are needed"
    return ""


def _cooldown_ends(state: RetrainState, policy: RetrainPolicy) -> datetime | None:
    return max(state.started) + policy.cooldown if state.started else None


def _budget_returns(state: RetrainState, policy: RetrainPolicy) -> datetime | None:
    """When so many trainings are a day old that one more is allowed; None where none ever is."""
    if policy.daily_budget == 0:
        return None
    return sorted(state.started)[-policy.daily_budget] + BUDGET_WINDOW


def _backoff_ends(state: RetrainState, policy: RetrainPolicy) -> datetime | None:
    if state.losses == 0 or state.last_loss_at is None:
        return None
    pause = policy.backoff
    for _ in range(state.losses - 1):
        if pause >= policy.backoff_limit or not pause:
            break
        pause *= 2
    return state.last_loss_at + min(pause, policy.backoff_limit)


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
