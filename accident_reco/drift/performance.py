"""Live performance of the champion: metrics on reported labels with confidence intervals, compared with training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from accident_reco.contract import LIVE_METRICS, Task, TaskKind
from accident_reco.drift.window import Labelled
from accident_reco.lifecycle.gate import (
    Statistic,
    average_precision_statistic,
    mean_statistic,
    paired_bootstrap,
    rmse_statistic,
    roc_auc_statistic,
)

MIN_LABELS = 200
"""Minimum labels: the standard error of an AUC of 200 rows with 40 positives is about 0.04."""
MIN_OF_EACH_CLASS = 20
DRAWS = 200
ECE_BINS = 15


@dataclass(frozen=True)
class LivePerformance:
    """Metrics on live labels, each `{"value", "low", "high", "at_training"}`, and the result for the deciding one."""

    labels: int
    metrics: Mapping[str, Mapping[str, float | None]]
    dropped: bool
    reason: str

    def document(self) -> dict[str, Any]:
        """JSON for the warehouse and the API."""
        return {
            "labels": self.labels,
            "metrics": {name: dict(metric) for name, metric in self.metrics.items()},
            "dropped": self.dropped,
            "reason": self.reason,
        }


def live_performance(
    task: Task, labelled: Labelled | None, at_training: Mapping[str, Any], tolerance: float
) -> LivePerformance:
    """Compute metrics on live labels and compare them with the champion's on its holdout.

    Performance has dropped when the favourable end of the 95 % interval of the deciding live metric is worse than at
    training by more than `tolerance`: many labels are needed for that. Targets of a regression have any unit: there
    `tolerance` is a share of the metric at training.
    """
    labels = 0 if labelled is None else len(labelled.score)
    if labelled is None or labels < MIN_LABELS:
        return LivePerformance(labels, {}, False, f"{labels} labels, at least {MIN_LABELS} are needed")
    statistics = STATISTICS[task.kind](labelled)
    if statistics is None:
        return LivePerformance(
            labels, {}, False, f"fewer than {MIN_OF_EACH_CLASS} labels of one class among {labels}: insufficient"
        )
    metrics = {}
    for name, statistic in statistics.items():
        interval = paired_bootstrap(
            labelled.groups, statistic, lambda _weights: 0.0, higher_is_better=True, draws=DRAWS
        )
        before = at_training.get(name)
        metrics[name] = {
            "value": _finite(interval.value),
            "low": _finite(interval.low),
            "high": _finite(interval.high),
            "at_training": _finite(before) if isinstance(before, int | float) else None,
        }
    dropped, reason = _compare(task, metrics, labels, tolerance)
    return LivePerformance(labels, metrics, dropped, reason)


def _compare(
    task: Task, metrics: Mapping[str, Mapping[str, float | None]], labels: int, tolerance: float
) -> tuple[bool, str]:
    name = task.live
    metric = metrics[name]
    value, low, high, before = metric["value"], metric["low"], metric["high"], metric["at_training"]
    if value is None or low is None or high is None or before is None:
        return False, f"{name} cannot be compared with that at training"
    shown = f"{name} {value:.3f} [{low:.3f}, {high:.3f}] on {labels} labels, {before:.3f} at training"
    worse = before - high if LIVE_METRICS[task.kind][name] else low - before
    is_relative = task.kind == "regression"
    if worse > tolerance * (before if is_relative else 1.0):
        return True, f"{shown}: worse by more than {f'{tolerance:.1%}' if is_relative else f'{tolerance:g}'}"
    return False, shown


def classification_statistics(labelled: Labelled) -> dict[str, Statistic] | None:
    """Metrics of a classification; None where one class has too few labels."""
    truth, score = labelled.truth, labelled.score
    if min(truth.sum(), (1 - truth).sum()) < MIN_OF_EACH_CLASS:
        return None
    return {
        "roc_auc": roc_auc_statistic(truth, score),
        "average_precision": average_precision_statistic(truth, score),
        "ece": calibration_error_statistic(truth, score),
        "brier": mean_statistic((truth - score) ** 2),
    }


def error_statistics(labelled: Labelled) -> dict[str, Statistic]:
    """Metrics of a regression or ranking."""
    errors = labelled.truth - labelled.score
    return {"rmse": rmse_statistic(errors), "mae": mean_statistic(np.abs(errors))}


STATISTICS: Final[Mapping[TaskKind, Callable[[Labelled], dict[str, Statistic] | None]]] = {
    "classification": classification_statistics,
    "regression": error_statistics,
    "ranking": error_statistics,
}
"""Kind of task → metrics on live labels; None where the labels are too few of one class."""


def calibration_error_statistic(truth: np.ndarray, score: np.ndarray, bins: int = ECE_BINS) -> Statistic:
    """Weighted expected calibration error over bins of equal size (Nguyen and O'Connor 2015)."""
    order = np.argsort(score, kind="stable")
    bin_of = np.empty(len(score), dtype=np.int64)
    bin_of[order] = np.arange(len(score)) * bins // len(score)

    def statistic(weights: np.ndarray) -> float:
        difference = np.bincount(bin_of, weights=weights * (score - truth), minlength=bins)
        return float(np.abs(difference).sum() / weights.sum())

    return statistic


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
