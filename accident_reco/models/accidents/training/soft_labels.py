"""Soft labels from auxiliary models with privileged information (distillation).

Recorded severity is noisy. An auxiliary model also uses obstacle, impact and manoeuvre, and the severities of the
*other* road users of the accident; its out-of-fold probability is a less noisy label for the served model, which has
none of these (Lopez-Paz, Bottou, Schölkopf & Vapnik 2016, "Unifying distillation and privileged information").
Serving uses none of it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.builder import FeatureSpec, build_features
from accident_reco.models.accidents.training.export import compute_margins
from accident_reco.models.accidents.training.fitting import BoostingParameters, TrainingRows, fit_boosting
from accident_reco.models.accidents.training.training_rows import Columns, severe_label

FOLDS: Final = 4
SEVERITIES: Final = (1, 2, 3, 4)


def select_soft_label_parameters(rows: int) -> BoostingParameters:
    """Parameters of the auxiliary models by number of training rows; cheap ones, since there is one per fold."""
    return BoostingParameters(rounds=min(max(rows // 200, 40), 300), leaves=63, rate=0.05, members=1)


def predict_out_of_fold(
    real: Columns, excluded: NDArray[np.bool_], parameters: BoostingParameters, seed: int, jobs: int
) -> NDArray[np.float64]:
    """Probability of a severe injury of every row, shape (n,), by models not trained on any row of its accident.

    Args:
        real: raw columns of real training rows, whole accidents, shape (n,); never of the holdout.
        excluded: rows that no model is trained on, shape (n,): the validation rows, whose labels must not leak into the
            training rows. Their soft label is the mean over all models.
    """
    label = severe_label(real["grav"])
    x = np.hstack(
        [build_features(real, FeatureSpec.learn(real, "full"), training_rows=True), count_severities_of_others(real)]
    )
    fold = assign_folds(real["Num_Acc"], FOLDS, seed)
    rows = TrainingRows(x, label, np.ones(len(label), dtype=np.float32))
    logit = np.zeros(len(label))
    for number in range(FOLDS):
        trees = fit_boosting(rows.select((fold != number) & ~excluded), parameters, seed, jobs)
        margin = compute_margins(trees, x)
        own = (fold == number) & ~excluded
        logit[own] = margin[own]
        logit[excluded] += margin[excluded] / FOLDS
    return 1 / (1 + np.exp(-logit))


def count_severities_of_others(columns: Columns) -> NDArray[np.float32]:
    """Number of other users of the same accident who are unharmed, killed, hospitalised, slightly injured; (n, 4)."""
    _, accident = np.unique(columns["Num_Acc"], return_inverse=True)
    own = np.stack([columns["grav"] == severity for severity in SEVERITIES], axis=1).astype(np.float32)
    total = np.stack([np.bincount(accident, weights=part) for part in own.T], axis=1).astype(np.float32)
    return total[accident] - own


def assign_folds(num_acc: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of every row, 0 … folds - 1, shape (n,); the rows of an accident share one."""
    numbers, accident = np.unique(num_acc, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(numbers)) % folds)[accident]
