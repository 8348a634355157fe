"""Promotion decisions: candidate against champion on the frozen holdout. Pure.

Reading rows, recording decisions and moving the pointer are in `promotion`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Statistic = Callable[[npt.NDArray[np.float64]], float]
"""Row weights, shape (n,) → value of a metric; weights of one give the plain metric."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one version on the frozen holdout, by name."""

    version: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Interval:
    """A difference with its bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SliceGain:
    """Gain of the candidate on a slice of the holdout."""

    name: str
    rows: int
    gain: Interval


@dataclass(frozen=True)
class Comparison:
    """Candidate against champion on the same rows; a positive gain favours the candidate, whatever the metric.

    `champion_metrics` are the champion's on these rows; those in its manifest are of other rows once the holdout has
    grown. `others` are gains of further metrics, paired on the same rows: the reason reports them.
    """

    rows: int
    groups: int
    gain: Interval
    slices: Sequence[SliceGain] = ()
    champion_metrics: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class GatePolicy:
    """Conditions of a promotion.

    Args:
        metric: the metric that decides.
        higher_is_better: its direction.
        floor: worst permitted value of the metric, with or without a champion; an upper limit where lower is better.
        minimum_gain: smallest gain that justifies a promotion.
        limits: metric → by how much it may be worse than the champion's (lower is better for all of them).
        slice_rows: smallest slice that counts.
        slice_tolerance: a slice is worse when the upper end of its gain is below minus this.
    """

    metric: str
    higher_is_better: bool
    floor: float
    minimum_gain: float
    limits: Mapping[str, float] = field(default_factory=dict)
    slice_rows: int = 300
    slice_tolerance: float = 0.0


@dataclass(frozen=True)
class Decision:
    """Whether to promote, with the reason."""

    promote: bool
    reason: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """JSON for the manifest, the audit and MLflow; numbers that are not finite are null."""
        return {"promote": self.promote, "reason": self.reason, "detail": _finite(self.detail)}


def _describe(gain: Interval) -> str:
    return f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def decide(
    candidate: Evaluation,
    champion: Evaluation | None,
    comparison: Comparison | None,
    policy: GatePolicy,
    blocked: Sequence[str] = (),
    problems: Sequence[str] = (),
) -> Decision:
    """Whether `candidate` may become champion.

    Args:
        champion: the present one; None before the first promotion, and for a rollback, where only the floor counts.
        comparison: both on the same holdout rows; needed whenever there is a champion.
        blocked: versions that a user rolled back; they are not promoted automatically.
        problems: failing blocking checks of the candidate's data, from any run.
    """
    name, value = policy.metric, candidate.metrics.get(policy.metric, float("nan"))
    detail: dict[str, Any] = {"candidate": candidate.version, "policy": asdict(policy), name: value}

    def reject(reason: str) -> Decision:
        return Decision(False, reason, detail)

    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return reject(f"the data fails its checks: {problems[0]}{more}")
    if candidate.version in blocked:
        return reject(f"{candidate.version} was rolled back by a user, which blocks it from promotion")
    if champion and champion.version == candidate.version:
        return reject(f"{candidate.version} serves already: the same data, code and seed give the same version")
    direction = 1.0 if policy.higher_is_better else -1.0
    side, bound = ("below", "floor") if policy.higher_is_better else ("above", "limit")
    if not direction * value >= direction * policy.floor:  # written so that NaN fails
        return reject(f"{name} {value:.4f} is {side} the {bound} {policy.floor:.4f}")
    if champion is None:
        return Decision(True, f"first version: {name} {value:.4f} passes the {bound} {policy.floor:.4f}", detail)
    if comparison is None or comparison.rows == 0:
        return reject("candidate and champion were not compared on the same holdout rows")

    gain = comparison.gain
    detail |= {"champion": champion.version, "comparison": asdict(comparison)}
    shown = f"{name} {value:.4f} vs {value - direction * gain.value:.4f}: gain {_describe(gain)}"
    for other, interval in comparison.others.items():
        shown += f", of {other} {_describe(interval)}"
    if not gain.value >= policy.minimum_gain:
        return reject(f"{shown} is below {policy.minimum_gain:g}")
    if not gain.low > 0:
        return reject(f"{shown} is not significant")
    before = {**champion.metrics, **comparison.champion_metrics}
    for limited, slack in policy.limits.items():
        ours, theirs = candidate.metrics.get(limited, float("nan")), before.get(limited, float("nan"))
        if not ours <= theirs + slack:
            return reject(f"{shown}, but {limited} {ours:.4f} is worse than {theirs:.4f} by more than {slack:g}")
    worse = [s for s in comparison.slices if s.rows >= policy.slice_rows and s.gain.high < -policy.slice_tolerance]
    if worse:
        named = ", ".join(f"{s.name} {s.gain.value:+.4f} on {s.rows} rows" for s in worse)
        return reject(f"{shown}, but slices are worse: {named}")
    return Decision(True, f"{shown} over {comparison.groups} groups, no slice is worse", detail)


def paired_bootstrap(
    groups: npt.ArrayLike,
    candidate: Statistic,
    champion: Statistic,
    *,
    higher_is_better: bool,
    draws: int = 400,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Gain of candidate over champion with a percentile interval, resampling whole groups of dependent rows.

    Both statistics get the same weights in each draw, so common variation cancels (Efron & Tibshirani 1993, ch. 8).

    Args:
        groups: group of each row, shape (n,).
    """
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = int(index.max()) + 1 if len(index) else 0
    direction = 1.0 if higher_is_better else -1.0
    ones = np.ones(len(index))
    value = direction * (candidate(ones) - champion(ones))
    generator = np.random.default_rng(seed)
    gains = np.empty(draws)
    for draw in range(draws):
        weights = np.bincount(generator.integers(0, n_groups, n_groups), minlength=n_groups).astype(float)[index]
        gains[draw] = direction * (candidate(weights) - champion(weights))
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(gains, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))


def mean_statistic(values: npt.ArrayLike) -> Statistic:
    """Weighted mean of a per-row value."""
    per_row = np.asarray(values, dtype=float)
    return lambda weights: float(weights @ per_row / weights.sum())


def rmse_statistic(errors: npt.ArrayLike) -> Statistic:
    """Weighted root mean square of per-row errors."""
    squares = np.asarray(errors, dtype=float) ** 2
    return lambda weights: float(np.sqrt(weights @ squares / weights.sum()))


def average_precision_statistic(y: npt.ArrayLike, score: npt.ArrayLike) -> Statistic:
    """Weighted average precision, sorted once: AP = Σ (Rₙ − Rₙ₋₁) Pₙ over distinct scores."""
    order, labels, last = _ranking(y, score)

    def statistic(weights: npt.NDArray[np.float64]) -> float:
        w = weights[order]
        hits = np.cumsum(w * labels)[last]
        selected = np.cumsum(w)[last]
        if not hits.size or hits[-1] == 0:
            return float("nan")
        precision = np.divide(hits, selected, out=np.zeros_like(hits), where=selected > 0)
        return float(np.sum(np.diff(hits, prepend=0.0) * precision) / hits[-1])

    return statistic


def roc_auc_statistic(y: npt.ArrayLike, score: npt.ArrayLike) -> Statistic:
    """Weighted area under the ROC curve, sorted once; ties count one half."""
    order, labels, last = _ranking(y, score)

    def statistic(weights: npt.NDArray[np.float64]) -> float:
        w = weights[order]
        positives = np.concatenate([[0.0], np.cumsum(w * labels)[last]])
        negatives = np.concatenate([[0.0], np.cumsum(w * (1 - labels))[last]])
        if positives[-1] == 0 or negatives[-1] == 0:
            return float("nan")
        return float(np.trapezoid(positives, negatives) / (positives[-1] * negatives[-1]))

    return statistic


def _ranking(
    y: npt.ArrayLike, score: npt.ArrayLike
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Order of the rows by falling score, their labels in that order, and where a threshold stands; each shape (n,)."""
    scores = np.asarray(score, dtype=float)
    order = np.argsort(-scores, kind="stable")
    last = np.diff(scores[order], append=np.nan) != 0  # between distinct scores and after the last
    return order, np.asarray(y, dtype=float)[order], last
