"""Decides whether a window has drifted, and says why. Pure: no storage, no clock; callers pass the thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from accident_reco.drift.statistics import Comparison, benjamini_hochberg, compare
from accident_reco.lifecycle.columns import Groups
from accident_reco.lifecycle.reference import ReferenceProfile

Status = Literal["stable", "warning", "drift", "insufficient_data"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a difference counts. Distances are differences in probability, the same scale for both kinds of column."""

    share: float = 0.5
    """A dataset has drifted when at least this share of its judged features has."""
    alpha: float = 0.01
    """False discoveries accepted among the features called drifted (Benjamini-Hochberg)."""
    distance: float = 0.08
    """Least KS distance or total variation of a drifted feature."""
    psi: float = 0.2
    """Or its least population stability index: a tail can move far without moving much probability."""
    missing: float = 0.1
    """Least change in the share of unknown values that is worth a warning."""
    min_rows: int = 500
    """Fewer rows than this: insufficient data."""
    min_effective_rows: int = 100
    """A feature whose known values tell less than this many independent rows is not judged."""
    min_groups: int = 30
    """Fewer accidents or users than this: insufficient data."""


@dataclass(frozen=True, slots=True)
class FeatureVerdict:
    """A comparison with its judgement; `drifted` is None where the feature has too few known rows."""

    comparison: Comparison
    p_adjusted: float
    drifted: bool | None
    missing_drifted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one window against one reference."""

    status: Status
    reason: str
    rows: int
    groups: int | None
    judged: int
    drifted: tuple[str, ...]
    drifted_share: float
    """Drifted features over judged ones; 0 where none was judged."""
    features: tuple[FeatureVerdict, ...]
    prediction: FeatureVerdict | None
    label: FeatureVerdict | None
    thresholds: Thresholds = field(default_factory=Thresholds)

    @property
    def alarming(self) -> bool:
        """The dataset has drifted: the only status that asks the retrain policy for something."""
        return self.status == "drift"


def judge(
    reference: ReferenceProfile,
    columns: Mapping[str, np.ndarray],
    groups: np.ndarray | None = None,
    score: np.ndarray | None = None,
    label: np.ndarray | None = None,
    thresholds: Thresholds | None = None,
) -> Verdict:
    """Judge a window: `columns` by the reference's names, 1-d and of one length; a column that is absent is not judged.

    `groups` is the accident or the user of each row, `score` the model's answer, `label` what came in where it came in
    (any length: only its distribution is compared, as of independent rows when its length differs).
    """
    limits = thresholds or Thresholds()
    rows = max((len(values) for values in columns.values()), default=0)
    grouped = Groups.of(groups) if rows else None
    names = [name for name in reference.columns if name in columns]
    comparisons = [compare(name, reference.columns[name], np.asarray(columns[name]), grouped) for name in names]
    features = _judge_features(comparisons, limits)
    judged = [feature for feature in features if feature.drifted is not None]
    drifted = tuple(feature.comparison.name for feature in judged if feature.drifted)
    share = len(drifted) / len(judged) if judged else 0.0
    prediction = None
    if score is not None and reference.score is not None and len(score):
        of_score = grouped if len(score) == rows else None
        prediction = _judge_features([compare("score", reference.score, np.asarray(score), of_score)], limits)[0]
    target = None
    if label is not None and reference.label is not None and len(label):
        of_label = grouped if len(label) == rows else None
        target = _judge_features([compare("label", reference.label, np.asarray(label), of_label)], limits)[0]
    number = None if grouped is None else grouped.number
    status, reason = _status(
        rows, number, len(reference.columns), len(judged), drifted, share, features, prediction, target, limits
    )
    return Verdict(status, reason, rows, number, len(judged), drifted, share, features, prediction, target, limits)


def _judge_features(comparisons: list[Comparison], limits: Thresholds) -> tuple[FeatureVerdict, ...]:
    """Effect size and adjusted p-value together; features with too little data take no part in the adjustment."""
    enough = np.array([each.effective_rows >= limits.min_effective_rows for each in comparisons], dtype=bool)
    p_values = np.array([comparison.p_value for comparison in comparisons], dtype=np.float64)
    adjusted = benjamini_hochberg(np.where(enough, p_values, np.nan))
    missing_adjusted = benjamini_hochberg(np.array([comparison.missing_p_value for comparison in comparisons]))
    verdicts = []
    for position, comparison in enumerate(comparisons):
        drifted: bool | None = None
        if enough[position]:
            large = comparison.distance >= limits.distance or comparison.psi >= limits.psi
            drifted = bool(large and adjusted[position] <= limits.alpha)
        missing = bool(comparison.missing_change >= limits.missing and missing_adjusted[position] <= limits.alpha)
        reason = _feature_reason(comparison, float(adjusted[position]), drifted, missing, limits)
        verdicts.append(FeatureVerdict(comparison, float(adjusted[position]), drifted, missing, reason))
    return tuple(verdicts)


def _feature_reason(
    comparison: Comparison, p_adjusted: float, drifted: bool | None, missing: bool, limits: Thresholds
) -> str:
    unknown = f"unknown {comparison.missing_reference:.1%} → {comparison.missing_current:.1%}"
    if drifted is None:
        text = f"not judged: known values worth {comparison.effective_rows:.0f} < {limits.min_effective_rows} rows"
        return f"{text}; {unknown}"
    sizes = f"distance {comparison.distance:.3f}, PSI {comparison.psi:.3f}, adjusted p {p_adjusted:.2g}"
    text = f"{comparison.change} ({sizes})" if drifted else sizes
    return f"{text}; {unknown}" if missing else text


def _status(
    rows: int,
    groups: int | None,
    columns: int,
    judged: int,
    drifted: tuple[str, ...],
    share: float,
    features: tuple[FeatureVerdict, ...],
    prediction: FeatureVerdict | None,
    label: FeatureVerdict | None,
    limits: Thresholds,
) -> tuple[Status, str]:
    if rows < limits.min_rows:
        return "insufficient_data", f"{rows} rows, at least {limits.min_rows} are needed"
    if groups is not None and groups < limits.min_groups:
        return "insufficient_data", f"{rows} rows of {groups} groups, at least {limits.min_groups} groups are needed"
    if judged * 2 < columns or judged == 0:
        return (
            "insufficient_data",
            f"{judged} of {columns} features have known values worth {limits.min_effective_rows} independent rows",
        )
    summary = f"{len(drifted)} of {judged} features drifted ({share:.0%})"
    if share >= limits.share:
        return "drift", f"{summary}, at or over the threshold of {limits.share:.0%}: {_listed(drifted)}"
    notes = []
    if drifted:
        notes.append(f"{summary}, under the threshold of {limits.share:.0%}: {_listed(drifted)}")
    unknown = tuple(feature.comparison.name for feature in features if feature.missing_drifted)
    if unknown:
        notes.append(f"the share of unknown values changed in {_listed(unknown)}")
    if prediction is not None and prediction.drifted:
        notes.append(f"the predictions moved: {prediction.comparison.change}")
    if label is not None and label.drifted:
        notes.append(f"the labels moved: {label.comparison.change}")
    if notes:
        return "warning", "; ".join(notes)
    return "stable", f"none of {judged} features drifted"


def _listed(names: tuple[str, ...], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
