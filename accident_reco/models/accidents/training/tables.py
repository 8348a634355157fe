"""An evaluation as tables of plain values, for the tracker; pictures of the same are in `plots`."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.training.metrics import compute_calibration_bins, count_confusion

if TYPE_CHECKING:
    from accident_reco.models.accidents.training.evaluation import HoldoutReport


def tabulate_evaluation(label: NDArray[np.int8], result: HoldoutReport) -> dict[str, dict[str, list[Any]]]:
    """Name → column → values: metrics by slice, calibration bins, confusion at the threshold, importances.

    Args:
        label: of the holdout rows, shape (n,).
    """
    from accident_reco.models.accidents.training.evaluation import SliceResult

    slices = [asdict(part) for part in result.slices]
    mean, rate, rows = compute_calibration_bins(label, result.probability)
    counts = count_confusion(label, result.probability, result.metrics["threshold"])
    return {
        "slices": {column.name: [part[column.name] for part in slices] for column in fields(SliceResult)},
        "calibration": {
            "mean_probability": mean.tolist(),
            "observed_share": rate.tolist(),
            "rows": rows.astype(int).tolist(),
        },
        "confusion": {
            "observed": ["severe", "severe", "light", "light"],
            "predicted": ["severe", "light", "severe", "light"],
            "rows": [counts["tp"], counts["fn"], counts["fp"], counts["tn"]],
        },
        "importances": {"column": list(result.importances), "loss_of_roc_auc": list(result.importances.values())},
    }
