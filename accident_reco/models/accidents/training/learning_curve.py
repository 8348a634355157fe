"""Quality of a candidate on validation rows as its trees are added, for the tracker.

Computed after the fit in one pass over the trees, which is much cheaper than an evaluation in each round of the fit.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.lifecycle.training_history import Point, now
from accident_reco.models.accidents.scoring.trees import Trees
from accident_reco.models.accidents.training.bounds import MAX_CURVE_ROWS, thin_rows
from accident_reco.models.accidents.training.export import compute_staged_margins
from accident_reco.models.accidents.training.fitting import BoostingParameters, Parameters
from accident_reco.models.accidents.training.metrics import log_loss, roc_auc

MAX_POINTS: Final = 50


def compute_learning_curve(
    trees: Trees, parameters: Parameters, x: NDArray[np.float32], label: NDArray[np.integer]
) -> dict[str, list[Point]]:
    """`roc_auc` and `log_loss` by round of boosting, or by tree of a forest; at most `MAX_POINTS` of them.

    Not calibrated yet: the log loss is that of the trees alone. Empty where a member of the boosting ended before its
    last round: which trees belong to which member is then unknown.

    Args:
        x: features of the validation rows, shape (n, k).
        label: their labels, shape (n,).
    """
    x, label = thin_rows(x, MAX_CURVE_ROWS), thin_rows(label, MAX_CURVE_ROWS)
    members = parameters.members if isinstance(parameters, BoostingParameters) else 1
    rounds = parameters.rounds if isinstance(parameters, BoostingParameters) else len(trees.roots)
    if len(trees.roots) != members * rounds or label.min() == label.max():
        return {}
    last = np.unique(np.linspace(0, rounds - 1, min(rounds, MAX_POINTS)).astype(int))  # of each group, from 0
    group = np.tile(np.searchsorted(last, np.arange(rounds)), members)
    margins = compute_staged_margins(trees, x, group)
    if isinstance(parameters, BoostingParameters):
        probability = 1 / (1 + np.exp(-margins))
    else:
        probability = margins * (rounds / (last + 1))  # a mean over the trees so far
    when, steps = now(), (last + 1).tolist()
    return {
        "roc_auc": [(step, roc_auc(label, margins[:, at]), when) for at, step in enumerate(steps)],
        "log_loss": [(step, log_loss(label, probability[:, at]), when) for at, step in enumerate(steps)],
    }
