"""Decides on a running rollout: advance, hold, promote or roll back, with the reason. Pure.

Source of the test on labels: `sequential`. Losses are compared pairwise, on the same rows and labels; rows of one
group count as one observation. The challenger is worse if the lower bound of the mean difference is above zero. It is
no worse than permitted if the upper bound of (its loss - (1 + margin) × the champion's loss) is below zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from accident_reco.lifecycle.rollout.sequential import MIN_GROUPS, Bounds, bounds, group_means
from accident_reco.lifecycle.rollout.state import Rollout

Action = Literal["advance", "hold", "promote", "roll_back"]
Undecided = Literal["hold", "promote"]

MIN_ERRORS: Final = 3
"""Errors of the challenger below which its error rate ends nothing."""
MIN_CALLS: Final = 100
"""Comparisons below which percentiles, spread and correlation of scores are not known."""
OPPOSITE: Final = -0.3
"""Rank correlation with the champion's scores below which the challenger contradicts it: versions that share nothing
are below it on 100 inputs with probability 0.1 %."""
SHOWN: Final = 0.025
"""Probability of error on each side of the intervals of a version's own loss."""
SIGNIFICANT: Final = 3.0
"""Standard deviations by which the challenger's slow calls must outnumber the champion's (sign test): 0.13 %."""


@dataclass(frozen=True)
class RolloutPolicy:
    """Conditions of a rollout.

    Args:
        margin: share of the champion's loss by which the challenger's may be larger.
        alpha_worse: probability that an equal challenger is ever rolled back on labels.
        alpha_promote: probability that a challenger worse by the margin is ever promoted on labels.
        step_seconds: minimum duration of a canary's step, and of a rollout before a promotion.
        step_calls: comparisons in a step before the next one.
        max_labels: groups of labels after which a rollout without a decision is over its budget.
        error_rate: by how much the challenger's share of errors may exceed the champion's.
        latency_factor: permitted ratio of the challenger's p99 to the champion's in the same minutes.
        latency_ms: a difference of p99 below this is permitted at any ratio.
        undecided: what happens at the end of the budget.
    """

    margin: float = 0.05
    alpha_worse: float = 0.05
    alpha_promote: float = 0.01
    step_seconds: float = 600
    step_calls: int = 100
    max_labels: int = 50_000
    error_rate: float = 0.01
    latency_factor: float = 2.0
    latency_ms: float = 5.0
    undecided: Undecided = "hold"

    def permitted_p99(self, champion_ms: float) -> float:
        """Milliseconds above which the challenger's p99 violates its objective, from the champion's."""
        return max(self.latency_factor * champion_ms, champion_ms + self.latency_ms)

    def document(self) -> dict[str, Any]:
        """JSON of the fields, for the state."""
        return asdict(self)


@dataclass(frozen=True)
class Calls:
    """Comparisons of recent minutes: both versions on the same inputs.

    Args:
        compared: inputs that both versions computed.
        errors: those on which the challenger failed.
        champion_errors: those on which the champion failed.
        not_finite: those on which the challenger's score was NaN or infinite.
        timed: inputs on which both were timed under the same conditions.
        p99_ms: of the challenger on these.
        champion_p99_ms: of the champion on these.
        slow: timed inputs on which the challenger took longer than its p99 may be.
        champion_slow: those on which the champion took that long.
        is_constant: whether the challenger's scores are all equal while the champion's are not.
        correlation: Spearman's of the scores of both; None where one of them does not vary.
        distance: mean absolute difference of the scores; None for a ranking.
        agreement: share of inputs with the same class, or mean share of common items of a ranking.
    """

    compared: int = 0
    errors: int = 0
    champion_errors: int = 0
    not_finite: int = 0
    timed: int = 0
    p99_ms: float = 0.0
    champion_p99_ms: float = 0.0
    slow: int = 0
    champion_slow: int = 0
    is_constant: bool = False
    correlation: float | None = None
    distance: float | None = None
    agreement: float | None = None


@dataclass(frozen=True)
class Labels:
    """Paired losses: the challenger's less the champion's, and less the permitted one.

    Args:
        difference: bounds of the mean difference; above zero the challenger is worse.
        excess: bounds of the mean of (its loss - (1 + margin) × the champion's).
        champion_loss: mean of the champion's.
        losses: version's part, `champion` or `challenger` → its own mean loss with a 95 % interval, to be shown.
    """

    difference: Bounds
    excess: Bounds
    champion_loss: float
    losses: Mapping[str, Bounds] = field(default_factory=dict)

    def describe(self) -> str:
        """The figures in one sentence."""
        if self.difference.groups < MIN_GROUPS:
            return f"{self.difference.groups} groups of labels, at least {MIN_GROUPS} are needed"
        share = 100.0 / self.champion_loss if self.champion_loss > 0 else 0.0
        mean, low, high = (share * value for value in (self.difference.mean, self.difference.low, self.difference.high))
        return (
            f"its loss differs from the champion's ({self.champion_loss:.4f}) by {mean:+.1f} % "
            f"[{low:+.1f}, {high:+.1f}] on {self.difference.groups} groups of labels"
        )


@dataclass(frozen=True)
class Evidence:
    """What is known of a rollout.

    Args:
        calls: comparisons of recent minutes.
        step_calls: comparisons since the step began.
        labels: paired losses since the rollout began.
    """

    calls: Calls
    step_calls: int
    labels: Labels

    def document(self) -> dict[str, Any]:
        """JSON for the state's curve; bounds that are not known yet are null."""
        difference, loss = self.labels.difference, self.labels.champion_loss
        figures = {
            "difference": difference.mean,
            "low": difference.low,
            "high": difference.high,
            "excess_high": self.labels.excess.high,
        }
        return {
            "labels": difference.groups,
            "champion_loss": loss,
            **{name: value / loss if loss > 0 and np.isfinite(value) else None for name, value in figures.items()},
            "losses": {
                part: [value if np.isfinite(value) else None for value in (own.mean, own.low, own.high)]
                for part, own in self.labels.losses.items()
            },
            "calls": asdict(self.calls),
        }


@dataclass(frozen=True)
class Step:
    """A decision: the action, its reason, and the share of the traffic afterwards."""

    action: Action
    reason: str
    share: float


def paired_labels(
    champion: npt.NDArray[np.float64],
    challenger: npt.NDArray[np.float64],
    groups: npt.ArrayLike,
    policy: RolloutPolicy,
) -> Labels:
    """Bounds from losses of both versions on the same labels, each of shape (n,).

    Args:
        groups: key of each row's group, shape (n,).
    """
    one = group_means(champion, groups)
    other = group_means(challenger, groups)
    return Labels(
        bounds(other - one, policy.alpha_worse, policy.alpha_promote),
        bounds(other - (1.0 + policy.margin) * one, policy.alpha_worse, policy.alpha_promote),
        float(one.mean()) if len(one) else 0.0,
        {"champion": bounds(one, SHOWN, SHOWN), "challenger": bounds(other, SHOWN, SHOWN)},
    )


def violation(calls: Calls, policy: RolloutPolicy) -> str | None:
    """The service objective that the challenger violates, in words; None where it meets all."""
    if calls.not_finite:
        return f"{calls.not_finite} of {calls.compared} scores are not finite"
    if calls.errors >= MIN_ERRORS:
        rate, before = calls.errors / calls.compared, calls.champion_errors / calls.compared
        if rate > before + policy.error_rate:
            return f"it failed on {rate:.1%} of {calls.compared} inputs, the champion on {before:.1%}"
    if calls.is_constant and calls.compared >= MIN_CALLS:
        return f"its scores of {calls.compared} inputs are all equal, the champion's are not"
    if calls.correlation is not None and calls.correlation < OPPOSITE and calls.compared >= MIN_CALLS:
        return f"it orders {calls.compared} inputs against the champion (rank correlation {calls.correlation:.2f})"
    if calls.timed < MIN_CALLS:
        return None
    # Its p99 is above the permitted one if more than 1 % of its calls are; a pause of the machine hits both alike.
    by_chance = SIGNIFICANT * (calls.slow + calls.champion_slow) ** 0.5
    if calls.slow > 0.01 * calls.timed and calls.slow - calls.champion_slow > by_chance:
        return f"its p99 is {calls.p99_ms:.1f} ms, the champion's {calls.champion_p99_ms:.1f} ms on the same inputs"
    return None


def decide(rollout: Rollout, evidence: Evidence, now: datetime, policy: RolloutPolicy) -> Step:
    """The next step of a running rollout.

    Args:
        now: UTC.
    """
    violated = violation(evidence.calls, policy)
    if violated is not None:
        return Step("roll_back", f"service objective: {violated}", 0.0)
    labels, words = evidence.labels, evidence.labels.describe()
    if labels.difference.low > 0.0:
        return Step("roll_back", f"worse: {words}", 0.0)
    step_ends = (now - datetime.fromisoformat(rollout.step_since)).total_seconds() - policy.step_seconds
    if step_ends < 0:
        return Step("hold", f"this step lasts {-step_ends:.0f} s more; {words}", rollout.share)
    if evidence.step_calls < policy.step_calls:
        reason = f"{evidence.step_calls} comparisons in this step, {policy.step_calls} are needed; {words}"
        return _budget(rollout, labels, now, policy, reason)
    larger = next((share for share in rollout.steps if share > rollout.share), None)
    if rollout.mode == "canary" and larger is not None:
        return Step("advance", f"{evidence.step_calls} comparisons without a violation; {words}", larger)
    if labels.excess.high < 0.0:
        return Step("promote", f"not worse by more than {policy.margin:.0%}: {words}", 1.0)
    return _budget(rollout, labels, now, policy, words)


def _budget(rollout: Rollout, labels: Labels, now: datetime, policy: RolloutPolicy, reason: str) -> Step:
    """Hold, or what the policy says at the end of the budget of time or labels."""
    is_over = now >= datetime.fromisoformat(rollout.ends) or labels.difference.groups >= policy.max_labels
    if not is_over:
        return Step("hold", reason, rollout.share)
    ended = f"not enough evidence by the end of the budget: {reason}"
    if policy.undecided == "promote":
        return Step("promote", f"{ended}; promoted by setting", 1.0)
    return Step("hold", f"{ended}; held until a person decides", rollout.share)


def read_policy(rule: Mapping[str, Any]) -> RolloutPolicy:
    """The policy in a rollout's state."""
    return RolloutPolicy(**rule)
