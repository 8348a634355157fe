"""Drift verdicts: whether a window has drifted, with the reason. Pure: no storage, no clock.

Three kinds of evidence are decisive, each with an effect size: the share of drifted features, the importance for the
model of those features, and the shift of its mean prediction. Many small changes, one that matters, or several that
matter together: each of these asks for another model. Other changes are warnings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
    importance: float = 0.5
    """Minimum share of the model's importance in drifted features of a drifted dataset."""
    prediction: float = 0.5
    """Minimum shift of the mean prediction of a drifted dataset, in standard deviations at training (0.5 is a medium
    effect by Cohen's convention). The mean, because missing fields change the distribution of calibrated scores far
    more than their mean."""
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
            importance=settings.drift_importance,
            prediction=settings.drift_prediction,
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
    importance: float | None = None
    """Share of the model's importance; None where the model states none."""


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
    drifted_importance: float | None
    """Share of the model's importance in drifted features; None where the model states no importances."""
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
    importances: Mapping[str, float] | None = None,
) -> Verdict:
    """Compare a window with a reference.

    Args:
        columns: arrays of shape (rows,) by the reference's names; absent columns are not evaluated.
        groups: group key of each row.
        score: the model's scores.
        label: known labels of any number of rows; of another number than the window's they count as independent.
        importances: column → its importance for the model's predictions, at least 0, on any scale.
    """
    thresholds = thresholds or Thresholds()
    rows = max((len(values) for values in columns.values()), default=0)
    grouped = Groups.from_keys(groups) if rows else None
    names = [name for name in reference.columns if name in columns]
    comparisons = [compare(name, reference.columns[name], np.asarray(columns[name]), grouped) for name in names]
    importance = _share_importance(reference, importances or {})
    features = tuple(
        replace(feature, importance=importance.get(feature.comparison.name))
        for feature in _evaluate_features(comparisons, thresholds)
    )
    evaluated = [feature for feature in features if feature.drifted is not None]
    drifted = tuple(feature.comparison.name for feature in evaluated if feature.drifted)
    prediction = None
    if score is not None and reference.score is not None and len(score):
        of_score = grouped if len(score) == rows else None
        prediction = _evaluate_features([compare("score", reference.score, np.asarray(score), of_score)], thresholds)[0]
    target = None
    if label is not None and reference.label is not None and len(label):
        of_label = grouped if len(label) == rows else None
        target = _evaluate_features([compare("label", reference.label, np.asarray(label), of_label)], thresholds)[0]
    evidence = Evidence(
        rows=rows,
        groups=None if grouped is None else grouped.number,
        columns=len(reference.columns),
        evaluated=len(evaluated),
        drifted=drifted,
        importance=importance,
        missing=tuple(feature.comparison.name for feature in features if feature.missing_drifted),
        prediction=prediction,
        label=target,
    )
    status, reason = decide_status(evidence, thresholds)
    return Verdict(
        status,
        reason,
        rows,
        evidence.groups,
        len(evaluated),
        drifted,
        evidence.share,
        evidence.drifted_importance,
        features,
        prediction,
        target,
        thresholds,
    )


def _share_importance(reference: ReferenceProfile, importances: Mapping[str, float]) -> dict[str, float]:
    """Column of the profile → its share of the importance of all of them; empty where none has any."""
    known = {name: max(float(importances.get(name, 0.0)), 0.0) for name in reference.columns}
    total = sum(known.values())
    return {name: weight / total for name, weight in known.items()} if total else {}


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


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict is decided by.

    Args:
        columns: number of columns of the reference profile.
        evaluated: number of those with enough data.
        drifted: names of those that drifted.
        importance: column → its share of the model's importance; empty where the model states none.
        missing: names of columns whose missing rate changed.
    """

    rows: int
    groups: int | None
    columns: int
    evaluated: int
    drifted: tuple[str, ...]
    importance: Mapping[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    prediction: FeatureVerdict | None = None
    label: FeatureVerdict | None = None

    @property
    def share(self) -> float:
        """Share of drifted features among the evaluated ones; 0 where there are none."""
        return len(self.drifted) / self.evaluated if self.evaluated else 0.0

    @property
    def drifted_importance(self) -> float | None:
        """Share of the model's importance in drifted features; None where the model states none."""
        return sum(self.importance[name] for name in self.drifted) if self.importance else None


def decide_status(evidence: Evidence, thresholds: Thresholds) -> tuple[Status, str]:
    """Status of a window, and the reason: every kind of evidence with its figures, decisive ones first."""
    insufficient = _find_insufficiency(evidence, thresholds)
    if insufficient:
        return "insufficient_data", insufficient
    decisive: list[str] = []
    notes: list[str] = []

    def add(text: str, value: float, threshold: float, shown: str, names: str) -> None:
        is_decisive = value >= threshold
        compared = "at or above" if is_decisive else "below"
        (decisive if is_decisive else notes).append(f"{text}, {compared} the threshold of {shown}{names}")

    if evidence.drifted:
        text = f"{len(evidence.drifted)} of {evidence.evaluated} features drifted ({evidence.share:.0%})"
        names = f": {_join_names(evidence.drifted)}"
        add(text, evidence.share, thresholds.share, f"{thresholds.share:.0%}", names)
        weight = evidence.drifted_importance
        if weight is not None:
            text = f"they have {weight:.0%} of the model's importance"
            heaviest = sorted(evidence.drifted, key=lambda name: -evidence.importance[name])
            names = f": {_join_names(tuple(heaviest))}" if weight >= thresholds.importance else ""
            add(text, weight, thresholds.importance, f"{thresholds.importance:.0%}", names)
    if evidence.missing:
        notes.append(f"the missing rate changed in {_join_names(evidence.missing)}")
    if evidence.prediction is not None and evidence.prediction.drifted:
        moved = evidence.prediction.comparison
        text = f"the predictions drifted: {moved.change}"
        if np.isnan(moved.shift):
            notes.append(text)
        else:
            text += f", {abs(moved.shift):.2f} standard deviations"
            add(text, abs(moved.shift), thresholds.prediction, f"{thresholds.prediction:g}", "")
    if evidence.label is not None and evidence.label.drifted:
        notes.append(f"the labels drifted: {evidence.label.comparison.change}")
    if decisive:
        return "drift", "; ".join(decisive + notes)
    if notes:
        return "warning", "; ".join(notes)
    return "stable", f"none of {evidence.evaluated} features drifted"


def _find_insufficiency(evidence: Evidence, thresholds: Thresholds) -> str:
    """Why the window has too little data for a verdict; empty where it has enough."""
    if evidence.rows < thresholds.min_rows:
        return f"{evidence.rows} rows, at least {thresholds.min_rows} are needed"
    if evidence.groups is not None and evidence.groups < thresholds.min_groups:
        return f"{evidence.rows} rows of {evidence.groups} groups, at least {thresholds.min_groups} groups are needed"
    if evidence.evaluated * 2 < evidence.columns or evidence.evaluated == 0:
        needed = thresholds.min_effective_rows
        return f"{evidence.evaluated} of {evidence.columns} features have {needed} effective rows of known values"
    return ""


def _join_names(names: tuple[str, ...], limit: int = 8) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
