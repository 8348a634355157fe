"""Does what was learnt last? A small model of the months before, judged month by month on the newest ones.

Beside it stands the same model of as many people of all months: what the two differ by is what time costs, and nothing
else. Judged on people of the holdout, as everything is; small, since the answer is a difference.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.models.accidents.features.builder import FeatureSpec, build_features
from accident_reco.models.accidents.training.evaluation import Holdout, SliceResult, slice_of
from accident_reco.models.accidents.training.export import margins
from accident_reco.models.accidents.training.fitting import QUICK, TrainingRows, fit_boosting
from accident_reco.models.accidents.training.metrics import roc_auc
from accident_reco.models.accidents.training.slices import month_name, months_of
from accident_reco.models.accidents.training.training_rows import columns_of, severe_label

NEWEST_SHARE: Final = 0.3
FEWEST: Final = 200
DIMENSION: Final = "out of time"


def out_of_time(
    training: pd.DataFrame, holdout: Holdout, feature_set: str, seed: int, jobs: int
) -> tuple[dict[str, float], list[SliceResult]]:
    """ROC AUC of the newest months for a model of the months before, and for one of as many people of all months.

    Returns metrics (`roc_auc_out_of_time`, `roc_auc_in_time`) and a slice per month; nothing where there is but one
    month or too few people.
    """
    real = training[~training["synthetic"]].reset_index(drop=True)
    month, judged_month = months_of(columns_of(real)), months_of(holdout.columns)
    first = int(np.quantile(month, 1 - NEWEST_SHARE, method="inverted_cdf"))
    before, judged = month < first, judged_month >= first
    label = holdout.label[judged]
    if min(int(before.sum()), len(label)) < FEWEST or label.min() == label.max():
        return {}, []
    accidents = np.unique(real["Num_Acc"])
    # As many accidents of all months as there are before: whole ones, by a seeded draw.
    drawn = np.random.default_rng(seed).permutation(accidents)[: len(np.unique(real["Num_Acc"][before]))]
    newest = {name: values[judged] for name, values in holdout.columns.items()}
    early, mixed = (
        _taught(real[chosen], newest, feature_set, seed, jobs) for chosen in (before, real["Num_Acc"].isin(drawn))
    )
    metrics = {"roc_auc_out_of_time": roc_auc(label, early), "roc_auc_in_time": roc_auc(label, mixed)}
    chance = 1 / (1 + np.exp(-early))
    months = []
    for number in np.unique(judged_month[judged]):
        of_month = judged_month[judged] == number
        if of_month.sum() >= FEWEST and 0 < label[of_month].mean() < 1:
            rows = (label[of_month], chance[of_month], newest["Num_Acc"][of_month])
            months.append(slice_of(DIMENSION, month_name(number), *rows, seed))
    return metrics, months


def _taught(
    people: pd.DataFrame, newest: dict[str, NDArray[np.generic]], feature_set: str, seed: int, jobs: int
) -> NDArray[np.float64]:
    columns = columns_of(people)
    spec = FeatureSpec.learn(columns, feature_set)
    label = severe_label(columns["grav"])
    rows = TrainingRows(build_features(columns, spec, seen=True), label, np.ones(len(label), dtype=np.float32))
    return margins(fit_boosting(rows, QUICK, seed, jobs), build_features(newest, spec))
