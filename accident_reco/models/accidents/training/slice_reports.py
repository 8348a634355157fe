"""What the card reports by group of road users: coverage of the uncertainty flag, error rates, reliability curves.

Rows are those of the frozen holdout. Discrimination by slice (ROC AUC) is in `evaluation`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.scoring.scorer import DecisionRule
from accident_reco.models.accidents.training.metrics import compute_calibration_bins, count_confusion
from accident_reco.models.accidents.training.slices import iterate_slices
from accident_reco.models.accidents.training.training_rows import Columns

# Road users from which on the coverage of a group, and a reliability curve, are more than noise.
MIN_ROWS: Final = 1_000
ODDS_DIMENSIONS: Final = ("sexe", "age")
CURVE_DIMENSIONS: Final = ("catu", "sexe", "agg", "lum", "vehicle", "age")
CURVE_BINS: Final = 10
# All road users of unknown sex or age are unharmed in the files: they have no recall.
_UNKNOWN: Final = "unknown"

Probability = NDArray[np.float64]
Label = NDArray[np.int8]


@dataclass(frozen=True)
class GroupCoverage:
    """Coverage of the true class in one group, overall and by class (NaN without rows of it), and uncertain rows."""

    name: str
    rows: int
    severe: int
    coverage: float
    coverage_severe: float
    coverage_light: float
    uncertain_share: float


@dataclass(frozen=True)
class ErrorRates:
    """Errors at the threshold in one slice: recall of the severe and false alarms among the others."""

    dimension: str
    part: str
    rows: int
    severe_share: float
    recall: float
    false_alarm_rate: float


@dataclass(frozen=True)
class ReliabilityCurve:
    """Mean probability, observed share and rows of the bins of one slice, and their mean distance by rows."""

    name: str
    mean: NDArray[np.float64]
    rate: NDArray[np.float64]
    rows: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error of the slice."""
        return float((np.abs(self.mean - self.rate) * self.rows).sum() / self.rows.sum())


def is_covered(rule: DecisionRule, columns: Columns, label: Label, probability: Probability) -> NDArray[np.bool_]:
    """Whether the true class of each row is not excluded, shape (n,)."""
    low, high = rule.find_bounds(columns)
    return np.where(label == 1, probability >= low, probability <= high)


def measure_coverage(
    rule: DecisionRule, columns: Columns, label: Label, probability: Probability
) -> list[GroupCoverage]:
    """Coverage in every group of the rule's bounds that has rows, in its order; none for a rule without groups."""
    if rule.groups is None:
        return []
    low, high = rule.find_bounds(columns)
    covered, uncertain = is_covered(rule, columns, label, probability), (probability >= low) & (probability < high)
    group = rule.groups.find_groups(columns)
    found = []
    for number in np.unique(group).tolist():
        rows = group == number
        severe = rows & (label == 1)
        everyone, of_severe, of_light = (_mean(covered[part]) for part in (rows, severe, rows & (label == 0)))
        found.append(
            GroupCoverage(
                rule.groups.names[number],
                int(rows.sum()),
                int(severe.sum()),
                everyone,
                of_severe,
                of_light,
                _mean(uncertain[rows]),
            )
        )
    return found


def _mean(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def find_lowest_coverage(groups: list[GroupCoverage]) -> dict[str, float]:
    """The lowest coverage among groups of at least `MIN_ROWS` road users as a metric; empty without such groups."""
    large = [group.coverage for group in groups if group.rows >= MIN_ROWS]
    return {"coverage_lowest_group": min(large)} if large else {}


def measure_error_rates(columns: Columns, label: Label, probability: Probability, threshold: float) -> list[ErrorRates]:
    """Recall and false alarms by sex and age, of slices with both classes."""
    found = []
    for dimension, part, rows in iterate_slices(columns):
        severe_share = float(label[rows].mean())
        if dimension not in ODDS_DIMENSIONS or part == _UNKNOWN or not 0 < severe_share < 1:
            continue
        n = count_confusion(label[rows], probability[rows], threshold)
        recall, false_alarms = n["tp"] / (n["tp"] + n["fn"]), n["fp"] / (n["fp"] + n["tn"])
        found.append(ErrorRates(dimension, part, int(rows.sum()), severe_share, recall, false_alarms))
    return found


def compute_odds_differences(rates: list[ErrorRates]) -> dict[str, float]:
    """Largest difference of recall or of false alarm rate between the slices of a dimension (equalised odds).

    Hardt, Price & Srebro 2016; 0: both rates are equal in all slices.
    """
    differences = {}
    for dimension in ODDS_DIMENSIONS:
        own = [rate for rate in rates if rate.dimension == dimension]
        if len(own) > 1:
            spread = max(np.ptp([rate.recall for rate in own]), np.ptp([rate.false_alarm_rate for rate in own]))
            differences[f"equalised_odds_{dimension}"] = float(spread)
    return differences


def compute_reliability(columns: Columns, label: Label, probability: Probability) -> list[ReliabilityCurve]:
    """Reliability curves of everybody and of every slice of at least `MIN_ROWS` road users."""
    return [
        ReliabilityCurve(name, *compute_calibration_bins(label[rows], probability[rows], CURVE_BINS))
        for name, rows in _iterate_curves(columns, len(label))
    ]


def _iterate_curves(columns: Columns, n: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    yield "everybody", np.ones(n, dtype=bool)
    for dimension, part, rows in iterate_slices(columns, MIN_ROWS):
        if dimension in CURVE_DIMENSIONS:
            yield f"{dimension}: {part}", rows


def describe_unknown_age(columns: Columns, label: Label) -> str:
    """How many road users have no year of birth, and how many of them are severe, as one sentence."""
    unknown = columns["an_nais"] <= 0
    if not unknown.any():
        return "every road user of the holdout has a year of birth."
    return (
        f"{int(unknown.sum()):,} road users of the holdout have no year of birth, "
        f"{int(label[unknown].sum()):,} of them are severe."
    )
