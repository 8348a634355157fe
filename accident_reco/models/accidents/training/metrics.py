"""Metrics of a severity model, named as in the manifest. Plain numpy on labels and probabilities of shape (n,)."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from accident_reco.lifecycle.gate import average_precision_statistic, roc_auc_statistic

ECE_BINS: Final = 15

Array = npt.NDArray[np.float64]


def roc_auc(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Area under the ROC curve; NaN when one class is absent."""
    return roc_auc_statistic(y, p)(np.ones(len(np.asarray(y))))


def average_precision(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Average precision (step-wise area under precision-recall); NaN without positives."""
    return average_precision_statistic(y, p)(np.ones(len(np.asarray(y))))


def compute_calibration_bins(y: npt.ArrayLike, p: npt.ArrayLike, bins: int = ECE_BINS) -> tuple[Array, Array, Array]:
    """Mean probability, observed rate and number of rows of equally filled, non-empty bins (Nguyen & O'Connor 2015).

    Rows of equal probability may fall into two bins; with calibrated trees these are few.
    """
    order = np.argsort(np.asarray(p, dtype=float), kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    labels, probabilities = np.asarray(y, dtype=float), np.asarray(p, dtype=float)
    return (
        np.array([probabilities[part].mean() for part in parts]),
        np.array([labels[part].mean() for part in parts]),
        np.array([float(len(part)) for part in parts]),
    )


def expected_calibration_error(y: npt.ArrayLike, p: npt.ArrayLike, bins: int = ECE_BINS) -> float:
    """Mean absolute difference of probability and observed rate over equally filled bins, weighted by rows."""
    mean, rate, rows = compute_calibration_bins(y, p, bins)
    return float((np.abs(mean - rate) * rows).sum() / rows.sum())


def expected_calibration_error_equal_width(y: npt.ArrayLike, p: npt.ArrayLike, bins: int = ECE_BINS) -> float:
    """The same over bins of equal width between 0 and 1 (Guo et al. 2017)."""
    labels, probabilities = np.asarray(y, dtype=float), np.asarray(p, dtype=float)
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(place, probabilities - labels)).sum() / len(labels))


def log_loss(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Mean negative log-likelihood."""
    probabilities = np.clip(np.asarray(p, dtype=float), 1e-12, 1 - 1e-12)
    labels = np.asarray(y, dtype=float)
    return float(-(labels * np.log(probabilities) + (1 - labels) * np.log1p(-probabilities)).mean())


def count_confusion(y: npt.ArrayLike, p: npt.ArrayLike, threshold: float) -> dict[str, int]:
    """Counts at a threshold: `tp`, `fp`, `fn`, `tn`."""
    actual, predicted = np.asarray(y) == 1, np.asarray(p) >= threshold
    return {
        "tp": int((actual & predicted).sum()),
        "fp": int((~actual & predicted).sum()),
        "fn": int((actual & ~predicted).sum()),
        "tn": int((~actual & ~predicted).sum()),
    }


def evaluate(y: npt.ArrayLike, p: npt.ArrayLike, threshold: float) -> dict[str, float]:
    """All metrics of a set of rows by name, those of the manifest first."""
    labels, probabilities = np.asarray(y), np.asarray(p, dtype=float)
    counts = count_confusion(labels, probabilities, threshold)
    rows = max(len(labels), 1)
    prevalence = float(labels.mean())
    return {
        "roc_auc": roc_auc(labels, probabilities),
        "average_precision": average_precision(labels, probabilities),
        "brier": float(((probabilities - labels) ** 2).mean()),
        "ece": expected_calibration_error(labels, probabilities),
        "accuracy": (counts["tp"] + counts["tn"]) / rows,
        "majority_accuracy": max(prevalence, 1 - prevalence),
        "accuracy_at_half": float(((probabilities >= 0.5) == (labels == 1)).mean()),
        "ece_10_quantiles": expected_calibration_error(labels, probabilities, 10),
        "ece_15_widths": expected_calibration_error_equal_width(labels, probabilities),
        "log_loss": log_loss(labels, probabilities),
        "recall": counts["tp"] / max(counts["tp"] + counts["fn"], 1),
        "precision": counts["tp"] / max(counts["tp"] + counts["fp"], 1),
        "threshold": float(threshold),
        "prevalence": prevalence,
        "holdout_people": float(len(labels)),
    }
