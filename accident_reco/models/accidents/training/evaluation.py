"""Evaluation of a scorer on the frozen holdout: metrics, slices, missing values, and comparison with another version.

Uses real road users of held-out accidents only, never synthetic rows; confidence intervals resample accidents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.lifecycle.evaluation import CalibrationBin, Confusion, SliceValue, VersionEvaluation
from accident_reco.lifecycle.gate import (
    Comparison,
    SliceGain,
    mean_statistic,
    paired_bootstrap,
    roc_auc_statistic,
)
from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.scoring.scorer import AccidentScorer, Answer
from accident_reco.models.accidents.training.metrics import (
    average_precision,
    compute_calibration_bins,
    count_confusion,
    evaluate,
    expected_calibration_error,
    roc_auc,
)
from accident_reco.models.accidents.training.slice_reports import (
    ErrorRates,
    GroupCoverage,
    ReliabilityCurve,
    compute_odds_differences,
    compute_reliability,
    describe_unknown_age,
    find_lowest_coverage,
    is_covered,
    measure_coverage,
    measure_error_rates,
)
from accident_reco.models.accidents.training.slices import iterate_slices
from accident_reco.models.accidents.training.training_rows import Columns, extract_columns, mask_fields, severe_label

MISSING_RATES: Final = (0.1, 0.3, 0.5)
BOOTSTRAP_DRAWS: Final = 200
# Slices of the gate: few and large, since one of many would be worse by chance.
GATE_DIMENSIONS: Final = ("catu", "sexe", "agg", "lum", "vehicle", "age")


@dataclass(frozen=True)
class Holdout:
    """Real road users of held-out accidents: raw columns and label, each of shape (n,)."""

    columns: Columns
    label: NDArray[np.int8]

    @classmethod
    def from_victims(cls, victims: pd.DataFrame) -> Holdout:
        """The holdout rows of a victims frame.

        Raises:
            ValueError: there are none, or one class is absent.
        """
        rows = extract_columns(victims[in_holdout(victims["Num_Acc"].to_numpy())])
        label = severe_label(rows["grav"])
        if not len(label) or label.min() == label.max():
            raise ValueError(f"the holdout of {len(label)} road users does not contain both classes; ingest more data")
        return cls(rows, label)


@dataclass(frozen=True)
class SliceResult:
    """Metrics of one part of the holdout; `low` and `high` are the 95 % interval of the ROC AUC."""

    dimension: str
    part: str
    rows: int
    severe_share: float
    mean_probability: float
    roc_auc: float
    low: float
    high: float
    average_precision: float


@dataclass(frozen=True)
class HoldoutReport:
    """Evaluation of a version on the holdout; `probability` has shape (n,).

    Coverage by group, error rates by sex and age, and reliability curves by slice are for the card and the plots.
    """

    metrics: dict[str, float]
    slices: list[SliceResult]
    probability: NDArray[np.float64]
    importances: dict[str, float] = field(default_factory=dict)
    coverage: list[GroupCoverage] = field(default_factory=list)
    error_rates: list[ErrorRates] = field(default_factory=list)
    reliability: list[ReliabilityCurve] = field(default_factory=list)
    unknown_age: str = ""


def evaluate_holdout(
    scorer: AccidentScorer, holdout: Holdout, seed: int, *, with_importances: bool = True
) -> HoldoutReport:
    """Score the holdout and compute metrics, slices and, by default, permutation importances."""
    answer = scorer.answer(holdout.columns, max_threads=1)  # a setting limits those of a training
    rows = (holdout.columns, holdout.label, answer.probability)
    coverage = measure_coverage(scorer.rule, *rows)
    error_rates = measure_error_rates(*rows, scorer.threshold)
    metrics = evaluate(holdout.label, answer.probability, scorer.threshold)
    metrics |= evaluate_missing_values(scorer, holdout, seed)
    metrics |= evaluate_uncertainty(scorer, holdout, answer)
    metrics |= find_lowest_coverage(coverage) | compute_odds_differences(error_rates)
    importances = compute_permutation_importances(scorer, holdout, seed) if with_importances else {}
    slices = evaluate_slices(holdout, answer.probability, seed)
    return HoldoutReport(
        metrics,
        slices,
        answer.probability,
        importances,
        coverage,
        error_rates,
        compute_reliability(*rows),
        describe_unknown_age(holdout.columns, holdout.label),
    )


def build_evaluation(report: HoldoutReport, label: NDArray[np.int8]) -> VersionEvaluation:
    """What a bundle keeps of a report for pages; `label` has shape (n,)."""
    threshold = report.metrics["threshold"]
    bins = zip(*compute_calibration_bins(label, report.probability), strict=True)
    return VersionEvaluation(
        metric="roc_auc",
        slices=[
            SliceValue(
                f"{row.dimension}: {row.part}",
                row.rows,
                row.roc_auc,
                row.low,
                row.high,
                {"observed": row.severe_share, "predicted": row.mean_probability},
            )
            for row in report.slices
        ],
        calibration=[CalibrationBin(float(mean), float(rate), int(rows)) for mean, rate, rows in bins],
        confusion=Confusion(threshold=float(threshold), **count_confusion(label, report.probability, threshold)),
        importances=dict(list(report.importances.items())[:20]),
    )


def evaluate_missing_values(scorer: AccidentScorer, holdout: Holdout, seed: int) -> dict[str, float]:
    """ROC AUC at each missing rate, every field of every row masked independently."""
    results = {}
    for rate in MISSING_RATES:
        generator = np.random.default_rng([seed, int(rate * 100)])
        masked = mask_fields(holdout.columns, scorer.columns, rate, generator)
        results[f"roc_auc_unknown_{rate * 100:.0f}"] = roc_auc(holdout.label, scorer.probability(masked))
    return results


def evaluate_uncertainty(scorer: AccidentScorer, holdout: Holdout, answer: Answer) -> dict[str, float]:
    """Share of rows flagged as uncertain, and coverage of the true class, overall and per class."""
    kept = is_covered(scorer.rule, holdout.columns, holdout.label, answer.probability)
    return {
        "uncertain_share": float(answer.uncertain.mean()),
        "coverage": float(kept.mean()),
        "coverage_grave": float(kept[holdout.label == 1].mean()),
        "coverage_light": float(kept[holdout.label == 0].mean()),
    }


def evaluate_slices(holdout: Holdout, probability: NDArray[np.float64], seed: int) -> list[SliceResult]:
    """Metrics of every slice that contains both classes."""
    results = []
    for dimension, part, mask in iterate_slices(holdout.columns):
        label = holdout.label[mask]
        if label.min() == label.max():
            continue
        results.append(
            evaluate_slice(dimension, part, label, probability[mask], holdout.columns["Num_Acc"][mask], seed)
        )
    return results


def evaluate_slice(
    dimension: str,
    part: str,
    label: NDArray[np.int8],
    probability: NDArray[np.float64],
    num_acc: NDArray[np.int64],
    seed: int,
) -> SliceResult:
    """Metrics of one part of the holdout from its rows, shape (n,), which contain both classes."""
    low, high = bootstrap_auc_interval(label, probability, num_acc, seed)
    return SliceResult(
        dimension,
        part,
        len(label),
        float(label.mean()),
        float(probability.mean()),
        roc_auc(label, probability),
        low,
        high,
        average_precision(label, probability),
    )


def bootstrap_auc_interval(
    label: NDArray[np.int8], probability: NDArray[np.float64], num_acc: NDArray[np.int64], seed: int
) -> tuple[float, float]:
    """95 % percentile bootstrap interval (low, high) of the ROC AUC, resampling whole accidents."""
    _, group = np.unique(num_acc, return_inverse=True)
    statistic, generator = roc_auc_statistic(label, probability), np.random.default_rng(seed)
    groups = int(group.max()) + 1
    values = []
    for _ in range(BOOTSTRAP_DRAWS):
        weights = np.bincount(generator.integers(0, groups, groups), minlength=groups).astype(float)[group]
        values.append(statistic(weights))
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def compute_permutation_importances(
    scorer: AccidentScorer, holdout: Holdout, seed: int, max_rows: int = 6_000
) -> dict[str, float]:
    """Column → loss of ROC AUC when that raw column is permuted, largest first."""
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(holdout.label))[:max_rows]
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
    """Candidate against champion on the same holdout rows: ROC AUC overall, log likelihood by slice."""
    ours, theirs = candidate.probability(holdout.columns), champion.probability(holdout.columns)
    accidents = holdout.columns["Num_Acc"]
    gain = paired_bootstrap(
        accidents,
        roc_auc_statistic(holdout.label, ours),
        roc_auc_statistic(holdout.label, theirs),
        higher_is_better=True,
        seed=seed,
    )
    likelihoods = [_compute_log_likelihood(holdout.label, probability) for probability in (ours, theirs)]
    parts = []
    for dimension, part, mask in iterate_slices(holdout.columns):
        if dimension not in GATE_DIMENSIONS:
            continue
        better, worse = (mean_statistic(values[mask]) for values in likelihoods)
        interval = paired_bootstrap(
            accidents[mask], better, worse, higher_is_better=True, draws=BOOTSTRAP_DRAWS, seed=seed
        )
        parts.append(SliceGain(f"{dimension}: {part}", int(mask.sum()), interval))
    champion_metrics = {
        "ece": expected_calibration_error(holdout.label, theirs),
        "brier": float(np.mean((theirs - holdout.label) ** 2)),
    }
    return Comparison(len(holdout.label), len(np.unique(accidents)), gain, parts, champion_metrics)


def _compute_log_likelihood(label: NDArray[np.int8], probability: NDArray[np.float64]) -> NDArray[np.float64]:
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.where(label == 1, np.log(p), np.log1p(-p))
