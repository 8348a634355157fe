"""Drift verdicts: whether a window has drifted, with the reason. Pure: no storage, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from accident_reco.drift.statistics import Comparison, benjamini_hochberg, compare
from accident_reco.lifecycle.columns import Groups
from accident_reco.lifecycle.reference import ReferenceProfile
from accident_reco.settings import Settings

Status = Literal["stable", "warning", "drift", "insufficient_data"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Minimum differences. Distances are differences in probability, on one scale for both kinds of column."""

    share: float = 0.5
    """Minimum share of drifted features among the evaluated ones of a drifted dataset."""
    alpha: float = 0.01
    """False discovery rate of drifted features (Benjamini-Hochberg)."""
    distance: float = 0.08
    """Minimum KS distance or total variation of a drifted feature."""
    psi: float = 0.2
    """Minimum population stability index (alternative to the distance: tails may move far with little probability)."""
    missing: float = 0.1
    """Minimum change of the missing rate that is a warning."""
    min_rows: int = 500
    """Fewer rows than this: insufficient data."""
    min_effective_rows: int = 100
    """A feature with fewer effective rows of known values is not evaluated."""
    min_groups: int = 30
    """Fewer groups of dependent rows than this: insufficient data."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Thresholds:
        """The thresholds as configured."""
        return cls(
            share=settings.drift_share,
            alpha=settings.drift_alpha,
            distance=settings.drift_distance,
            psi=settings.drift_psi,
            min_rows=settings.drift_min_rows,
            min_groups=settings.drift_min_groups,
        )


@dataclass(frozen=True, slots=True)
class FeatureVerdict:
    """A comparison with its verdict; `drifted` is None where the feature has too few known values."""

    comparison: Comparison
    p_adjusted: float
    drifted: bool | None
    missing_drifted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one window against one reference."""

    status: Status
    reason: str
    rows: int
    groups: int | None
    evaluated: int
    """Number of features with enough data."""
    drifted: tuple[str, ...]
    drifted_share: float
    """Share of drifted features among the evaluated ones; 0 where there are none."""
    features: tuple[FeatureVerdict, ...]
    prediction: FeatureVerdict | None
    label: FeatureVerdict | None
    thresholds: Thresholds = field(default_factory=Thresholds)


def evaluate_drift(
    reference: ReferenceProfile,
    columns: Mapping[str, np.ndarray],
    groups: np.ndarray | None = None,
    score: np.ndarray | None = None,
    label: np.ndarray | None = None,
    thresholds: Thresholds | None = None,
) -> Verdict:
    """Compare a window with a reference.

    Args:
        columns: arrays of shape (rows,) by the reference's names; absent columns are not evaluated.
        groups: group key of each row.
        score: the model's scores.
        label: known labels of any number of rows; of another number than the window's they count as independent.
    """
    thresholds = thresholds or Thresholds()
    rows = max((len(values) for values in columns.values()), default=0)
    grouped = Groups.from_keys(groups) if rows else None
    names = [name for name in reference.columns if name in columns]
    comparisons = [compare(name, reference.columns[name], np.asarray(columns[name]), grouped) for name in names]
    features = _evaluate_features(comparisons, thresholds)
    evaluated = [feature for feature in features if feature.drifted is not None]
    drifted = tuple(feature.comparison.name for feature in evaluated if feature.drifted)
    share = len(drifted) / len(evaluated) if evaluated else 0.0
    prediction = None
    if score is not None and reference.score is not None and len(score):
        of_score = grouped if len(score) == rows else None
        prediction = _evaluate_features([compare("score", reference.score, np.asarray(score), of_score)], thresholds)[0]
    target = None
    if label is not None and reference.label is not None and len(label):
        of_label = grouped if len(label) == rows else None
        target = _evaluate_features([compare("label", reference.label, np.asarray(label), of_label)], thresholds)[0]
    number = None if grouped is None else grouped.number
    status, reason = _status(
        rows, number, len(reference.columns), len(evaluated), drifted, share, features, prediction, target, thresholds
    )
    return Verdict(
        status, reason, rows, number, len(evaluated), drifted, share, features, prediction, target, thresholds
    )


def _evaluate_features(comparisons: list[Comparison], thresholds: Thresholds) -> tuple[FeatureVerdict, ...]:
    """Effect size and adjusted p-value together; features with too little data are not part of the adjustment."""
    enough = np.array(
        [comparison.effective_rows >= thresholds.min_effective_rows for comparison in comparisons], dtype=bool
    )
    p_values = np.array([comparison.p_value for comparison in comparisons], dtype=np.float64)
    adjusted = benjamini_hochberg(np.where(enough, p_values, np.nan))
    missing_adjusted = benjamini_hochberg(np.array([comparison.missing_p_value for comparison in comparisons]))
    verdicts = []
    for position, comparison in enumerate(comparisons):
        drifted: bool | None = None
        if enough[position]:
            large = comparison.distance >= thresholds.distance or comparison.psi >= thresholds.psi
            drifted = bool(large and adjusted[position] <= thresholds.alpha)
        missing = bool(
            comparison.missing_change >= thresholds.missing and missing_adjusted[position] <= thresholds.alpha
        )
        reason = _feature_reason(comparison, float(adjusted[position]), drifted, missing, thresholds)
        verdicts.append(FeatureVerdict(comparison, float(adjusted[position]), drifted, missing, reason))
    return tuple(verdicts)


def _feature_reason(
    comparison: Comparison, p_adjusted: float, drifted: bool | None, missing: bool, thresholds: Thresholds
) -> str:
    missing_rates = f"missing {comparison.missing_reference:.1%} → {comparison.missing_current:.1%}"
    if drifted is None:
        needed = thresholds.min_effective_rows
        text = f"not evaluated: {comparison.effective_rows:.0f} effective rows of known values, {needed} are needed"
        return f"{text}; {missing_rates}"
    sizes = f"distance {comparison.distance:.3f}, PSI {comparison.psi:.3f}, adjusted p {p_adjusted:.2g}"
    text = f"{comparison.change} ({sizes})" if drifted else sizes
    return f"{text}; {missing_rates}" if missing else text


def _status(
    rows: int,
    groups: int | None,
    columns: int,
    evaluated: int,
    drifted: tuple[str, ...],
    share: float,
    features: tuple[FeatureVerdict, ...],
    prediction: FeatureVerdict | None,
    label: FeatureVerdict | None,
    thresholds: Thresholds,
) -> tuple[Status, str]:
    if rows < thresholds.min_rows:
        return "insufficient_data", f"{rows} rows, at least {thresholds.min_rows} are needed"
    if groups is not None and groups < thresholds.min_groups:
        return (
            "insufficient_data",
            f"{rows} rows of {groups} groups, at least {thresholds.min_groups} groups are needed",
        )
    if evaluated * 2 < columns or evaluated == 0:
        return (
            "insufficient_data",
            f"{evaluated} of {columns} features have {thresholds.min_effective_rows} effective rows of known values",
        )
    summary = f"{len(drifted)} of {evaluated} features drifted ({share:.0%})"
    if share >= thresholds.share:
        return "drift", f"{summary}, at or above the threshold of {thresholds.share:.0%}: {_join_names(drifted)}"
    notes = []
    if drifted:
        notes.append(f"{summary}, below the threshold of {thresholds.share:.0%}: {_join_names(drifted)}")
    missing = tuple(feature.comparison.name for feature in features if feature.missing_drifted)
    if missing:
        notes.append(f"the missing rate changed in {_join_names(missing)}")
    if prediction is not None and prediction.drifted:
        notes.append(f"the predictions drifted: {prediction.comparison.change}")
    if label is not None and label.drifted:
        notes.append(f"the labels drifted: {label.comparison.change}")
    if notes:
        return "warning", "; ".join(notes)
    return "stable", f"none of {evaluated} features drifted"


def _join_names(names: tuple[str, ...], limit: int = 8) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
