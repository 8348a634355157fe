"""What the frozen holdout says of a scorer: metrics, slices with intervals by accident, gaps, against another version.

Only real people of held-out accidents enter; synthetic rows never do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.lifecycle.gate import (
    Comparison,
    SliceGain,
    mean_statistic,
    paired_bootstrap,
    roc_auc_statistic,
)
from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.scoring.scorer import AccidentScorer
from accident_reco.models.accidents.training.metrics import (
    average_precision,
    evaluate,
    expected_calibration_error,
    roc_auc,
)
from accident_reco.models.accidents.training.slices import slices
from accident_reco.models.accidents.training.training_rows import Columns, columns_of, mask_fields, severe_label

GAPS: Final = (0.1, 0.3, 0.5)
DRAWS: Final = 200
# Slices that the gate looks at: few and large, or one of many is worse by chance.
GATE_DIMENSIONS: Final = ("catu", "sexe", "agg", "lum", "vehicle", "age")


@dataclass(frozen=True)
class Holdout:
    """Real people of held-out accidents, with their label."""

    columns: Columns
    label: NDArray[np.int8]

    @classmethod
    def of(cls, victims: pd.DataFrame) -> Holdout:
        """The holdout rows of a victims frame. Raises ValueError when there are none or one class is absent."""
        rows = columns_of(victims[in_holdout(victims["Num_Acc"].to_numpy())])
        label = severe_label(rows["grav"])
        if not len(label) or label.min() == label.max():
            raise ValueError(f"the holdout of {len(label)} people does not hold both classes; ingest more data")
        return cls(rows, label)


@dataclass(frozen=True)
class SliceResult:
    """One part of the holdout; `low` and `high` bound the ROC AUC at 95 % over accidents."""

    dimension: str
    part: str
    people: int
    grave: float
    mean_probability: float
    roc_auc: float
    low: float
    high: float
    average_precision: float


@dataclass(frozen=True)
class Report:
    """Everything that was measured for a version."""

    metrics: dict[str, float]
    slices: list[SliceResult]
    probability: NDArray[np.float64]
    importances: dict[str, float] = field(default_factory=dict)


def report(scorer: AccidentScorer, holdout: Holdout, seed: int, *, with_importances: bool = True) -> Report:
    """Score the holdout and measure it from every side."""
    probability = scorer.probability(holdout.columns)
    metrics = evaluate(holdout.label, probability, scorer.threshold)
    metrics |= with_gaps(scorer, holdout, seed)
    metrics |= doubt(scorer, holdout.label, probability)
    importances = permutation_importances(scorer, holdout, seed) if with_importances else {}
    return Report(metrics, slice_table(holdout, probability, seed), probability, importances)


def with_gaps(scorer: AccidentScorer, holdout: Holdout, seed: int) -> dict[str, float]:
    """ROC AUC when a share of all fields is unknown, each field of each row drawn alone."""
    results = {}
    for share in GAPS:
        generator = np.random.default_rng([seed, int(share * 100)])
        gaps = mask_fields(holdout.columns, scorer.columns, share, generator)
        results[f"roc_auc_unknown_{share * 100:.0f}"] = roc_auc(holdout.label, scorer.probability(gaps))
    return results


def doubt(scorer: AccidentScorer, label: NDArray[np.int8], probability: NDArray[np.float64]) -> dict[str, float]:
    """How often the conformal flag says uncertain, and how often the true class was not excluded (per class)."""
    rule = scorer.rule
    kept = np.where(label == 1, probability >= rule.uncertain_from, probability <= rule.uncertain_to)
    return {
        "uncertain_share": float(scorer.answer_for(probability).uncertain.mean()),
        "coverage": float(kept.mean()),
        "coverage_grave": float(kept[label == 1].mean()),
        "coverage_light": float(kept[label == 0].mean()),
    }


def slice_table(holdout: Holdout, probability: NDArray[np.float64], seed: int) -> list[SliceResult]:
    """Every slice with its ROC AUC and a bootstrap interval over accidents."""
    results = []
    for dimension, part, mask in slices(holdout.columns):
        label, chance = holdout.label[mask], probability[mask]
        if label.min() == label.max():
            continue
        results.append(slice_of(dimension, part, label, chance, holdout.columns["Num_Acc"][mask], seed))
    return results


def slice_of(
    dimension: str, part: str, label: NDArray[np.int8], probability: NDArray[np.float64], num_acc: NDArray[np.int64],
    seed: int,
) -> SliceResult:  # fmt: skip
    """What is measured of one part of the holdout, given its rows; both classes must be among them."""
    low, high = auc_interval(label, probability, num_acc, seed)
    return SliceResult(
        dimension, part, len(label), float(label.mean()), float(probability.mean()), roc_auc(label, probability),
        low, high, average_precision(label, probability),
    )  # fmt: skip


def auc_interval(
    label: NDArray[np.int8], probability: NDArray[np.float64], num_acc: NDArray[np.int64], seed: int
) -> tuple[float, float]:
    """95 % percentile bootstrap of the ROC AUC, drawing whole accidents."""
    _, group = np.unique(num_acc, return_inverse=True)
    statistic, generator = roc_auc_statistic(label, probability), np.random.default_rng(seed)
    groups = int(group.max()) + 1
    values = []
    for _ in range(DRAWS):
        weights = np.bincount(generator.integers(0, groups, groups), minlength=groups).astype(float)[group]
        values.append(statistic(weights))
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def permutation_importances(
    scorer: AccidentScorer, holdout: Holdout, seed: int, people: int = 6_000
) -> dict[str, float]:
    """Loss of ROC AUC when one raw column is shuffled among people, largest first."""
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(holdout.label))[:people]
    columns = {name: holdout.columns[name][chosen] for name in scorer.columns if name in holdout.columns}
    label = holdout.label[chosen]
    if label.min() == label.max():
        return {}
    whole = roc_auc(label, scorer.probability(columns))
    losses = {}
    for name in columns:
        shuffled = {**columns, name: columns[name][generator.permutation(len(label))]}
        losses[name] = whole - roc_auc(label, scorer.probability(shuffled))
    return dict(sorted(losses.items(), key=lambda item: -item[1]))


def compare(candidate: AccidentScorer, champion: AccidentScorer, holdout: Holdout, seed: int) -> Comparison:
    """Candidate against champion on the same held-out people: ROC AUC overall, log likelihood by slice."""
    ours, theirs = candidate.probability(holdout.columns), champion.probability(holdout.columns)
    accidents = holdout.columns["Num_Acc"]
    gain = paired_bootstrap(
        accidents, roc_auc_statistic(holdout.label, ours), roc_auc_statistic(holdout.label, theirs),
        higher_is_better=True, seed=seed,
    )  # fmt: skip
    likelihoods = [_log_likelihood(holdout.label, chance) for chance in (ours, theirs)]
    parts = []
    for dimension, part, mask in slices(holdout.columns):
        if dimension not in GATE_DIMENSIONS:
            continue
        better, worse = (mean_statistic(values[mask]) for values in likelihoods)
        interval = paired_bootstrap(accidents[mask], better, worse, higher_is_better=True, draws=DRAWS, seed=seed)
        parts.append(SliceGain(f"{dimension}: {part}", int(mask.sum()), interval))
    now = {
        "ece": expected_calibration_error(holdout.label, theirs),
        "brier": float(np.mean((theirs - holdout.label) ** 2)),
    }
    return Comparison(len(holdout.label), len(np.unique(accidents)), gain, parts, now)


def _log_likelihood(label: NDArray[np.int8], probability: NDArray[np.float64]) -> NDArray[np.float64]:
    chance = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.where(label == 1, np.log(chance), np.log1p(-chance))


def headline(metrics: Mapping[str, Any]) -> str:
    """One line for logs and asset pages."""
    return (
        f"ROC AUC {metrics['roc_auc']:.4f}, average precision {metrics['average_precision']:.4f}, "
        f"ECE {metrics['ece']:.4f}, accuracy {metrics['accuracy']:.3f} (majority {metrics['majority_accuracy']:.3f})"
    )
