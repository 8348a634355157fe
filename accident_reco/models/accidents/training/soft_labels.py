"""Softer labels from teachers that may look where no caller can: learning using privileged information.

Whether somebody is gravely hurt is partly chance, and a tree that learns 0 or 1 learns the chance too. A teacher sees
obstacle, impact and manoeuvre, and how badly the *others* of the accident were hurt; what it says of people whom it did
not learn from is a less noisy label for the model that must do without all this (Lopez-Paz, Bottou, Schölkopf & Vapnik
2016, "Unifying distillation and privileged information"). Nothing of it is left at serving time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.builder import FeatureSpec, build_features
from accident_reco.models.accidents.training.export import margins
from accident_reco.models.accidents.training.fitting import BoostingParameters, TrainingRows, fit_boosting
from accident_reco.models.accidents.training.training_rows import Columns, severe_label

FOLDS: Final = 4
SEVERITIES: Final = (1, 2, 3, 4)


def parameters_for(people: int) -> BoostingParameters:
    """Teachers worth this many people: less patient than a student, since there are several."""
    return BoostingParameters(rounds=min(max(people // 200, 40), 300), leaves=63, rate=0.05, members=1)


def out_of_fold(
    real: Columns, apart: NDArray[np.bool_], parameters: BoostingParameters, seed: int, jobs: int
) -> NDArray[np.float64]:
    """Probability of a grave injury for every person, by teachers that saw nobody of the person's accident.

    Args:
        real: raw columns of real training people, whole accidents, shape (n,); never of the holdout.
        apart: people whom no teacher learns from (the validation rows), or what is measured on them would be theirs.
    """
    label = severe_label(real["grav"])
    x = np.hstack([build_features(real, FeatureSpec.learn(real, "full"), seen=True), severity_of_others(real)])
    fold = accident_folds(real["Num_Acc"], FOLDS, seed)
    rows = TrainingRows(x, label, np.ones(len(label), dtype=np.float32))
    said = np.zeros(len(label))
    for number in range(FOLDS):
        trees = fit_boosting(rows.where((fold != number) & ~apart), parameters, seed, jobs)
        word = margins(trees, x)
        own = (fold == number) & ~apart
        said[own] = word[own]
        said[apart] += word[apart] / FOLDS
    return 1 / (1 + np.exp(-said))


def severity_of_others(columns: Columns) -> NDArray[np.float32]:
    """How many others of the same accident are unharmed, killed, hospitalised, slightly hurt; shape (n, 4)."""
    _, accident = np.unique(columns["Num_Acc"], return_inverse=True)
    own = np.stack([columns["grav"] == severity for severity in SEVERITIES], axis=1).astype(np.float32)
    total = np.stack([np.bincount(accident, weights=part) for part in own.T], axis=1).astype(np.float32)
    return total[accident] - own


def accident_folds(num_acc: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of every row, 0 … folds - 1; people of one accident share theirs."""
    numbers, accident = np.unique(num_acc, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(numbers)) % folds)[accident]
