"""Soft labels from auxiliary models with privileged information (distillation).

Recorded severity is noisy. An auxiliary model also uses obstacle, impact and manoeuvre, and the severities of the
*other* road users of the accident; its out-of-fold probability is a less noisy label for the served model, which has
none of these (Lopez-Paz, Bottou, Schölkopf & Vapnik 2016, "Unifying distillation and privileged information").
Serving uses none of it.
"""

from __future__ import annotations

from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.builder import FeatureSpec, fill_features
from accident_reco.models.accidents.training.bounds import MAX_SOFT_LABEL_ROWS, thin_accidents
from accident_reco.models.accidents.training.export import compute_margins
from accident_reco.models.accidents.training.fitting import BoostingParameters, TrainingRows, fit_boosting
from accident_reco.models.accidents.training.training_rows import FOLDS, Columns, get_fold, severe_label

SEVERITIES: Final = (1, 2, 3, 4)


def select_soft_label_parameters(rows: int) -> BoostingParameters:
    """Parameters of the auxiliary models by number of training rows; cheap ones, since there are six."""
    return BoostingParameters(rounds=min(max(rows // 200, 40), 300), leaves=63, rate=0.05, members=1)


def predict_out_of_fold(
    real: Columns, parameters: BoostingParameters, seed: int, jobs: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probability of a severe injury of every row, by models not trained on any row of its fold of accidents.

    There is one auxiliary model for each pair of folds, trained on the other folds, on about `MAX_SOFT_LABEL_ROWS` road
    users of them where they have more. A fit that is calibrated on a fold must not learn from labels that its rows
    influenced: its soft labels are those of the pairs with that fold.

    Args:
        real: raw columns of real training rows, whole accidents, shape (n,); never of the holdout.

    Returns:
        Soft labels of all models not trained on the row's fold, shape (n,); and for every fold those of models that
        were not trained on that fold either, shape (folds, n), NaN in the rows of the fold.
    """
    label = severe_label(real["grav"])
    spec = FeatureSpec.learn(real, "full")
    x = np.empty((len(label), len(spec.names) + len(SEVERITIES)), dtype=np.float32)
    fill_features(x[:, : len(spec.names)], real, spec, training_rows=True)
    x[:, len(spec.names) :] = count_severities_of_others(real)
    fold = get_fold(real["Num_Acc"])
    rows = TrainingRows(x, label, np.ones(len(label), dtype=np.float32))
    logit = np.full((FOLDS, len(label)), np.nan)
    for first, second in combinations(range(FOLDS), 2):
        outside = thin_accidents(real["Num_Acc"], (fold != first) & (fold != second), MAX_SOFT_LABEL_ROWS)
        trees = fit_boosting(rows, parameters, seed, jobs, outside)
        for held_out, own in ((first, fold == second), (second, fold == first)):
            logit[held_out, own] = compute_margins(trees, x[own])
    return _to_probability(np.nansum(logit, axis=0) / (FOLDS - 1)), _to_probability(logit)


def _to_probability(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logit))


def count_severities_of_others(columns: Columns) -> NDArray[np.float32]:
    """Number of other users of the same accident who are unharmed, killed, hospitalised, slightly injured; (n, 4)."""
    _, accident = np.unique(columns["Num_Acc"], return_inverse=True)
    own = np.stack([columns["grav"] == severity for severity in SEVERITIES], axis=1).astype(np.float32)
    total = np.stack([np.bincount(accident, weights=part) for part in own.T], axis=1).astype(np.float32)
    return total[accident] - own
