"""Out-of-time evaluation: a small model trained on earlier months, evaluated on the newest months of the holdout.

The same model trained on as many accidents of all months is the reference: the difference is the effect of time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.models.accidents.features.builder import FeatureSpec, build_features
from accident_reco.models.accidents.training.bounds import MAX_OUT_OF_TIME_ROWS, thin_accidents
from accident_reco.models.accidents.training.evaluation import Holdout, SliceResult, evaluate_slice
from accident_reco.models.accidents.training.export import compute_margins
from accident_reco.models.accidents.training.fitting import FAST_BOOSTING, TrainingRows, fit_boosting
from accident_reco.models.accidents.training.metrics import roc_auc
from accident_reco.models.accidents.training.slices import compute_months, format_month
from accident_reco.models.accidents.training.training_rows import extract_columns, severe_label

NEWEST_SHARE: Final = 0.3
MIN_ROWS: Final = 200
DIMENSION: Final = "out of time"


def evaluate_out_of_time(
    training: pd.DataFrame, holdout: Holdout, feature_set: str, seed: int, jobs: int
) -> tuple[dict[str, float], list[SliceResult]]:
    """ROC AUC on the newest months of a model of earlier months, and of one of as many accidents of all months.

    Returns metrics (`roc_auc_out_of_time`, `roc_auc_in_time`) and a slice per month; both are empty where there is only
    one month or fewer than `MIN_ROWS` rows on either side.
    """
    real = training[~training["synthetic"]].reset_index(drop=True)
    month, holdout_month = compute_months(extract_columns(real)), compute_months(holdout.columns)
    first = int(np.quantile(month, 1 - NEWEST_SHARE, method="inverted_cdf"))
    before, late = month < first, holdout_month >= first
    label = holdout.label[late]
    if min(int(before.sum()), len(label)) < MIN_ROWS or label.min() == label.max():
        return {}, []
    accidents = np.unique(real["Num_Acc"])
    # As many accidents of all months as there are in the earlier ones, drawn with a seed.
    drawn = np.random.default_rng(seed).permutation(accidents)[: len(np.unique(real["Num_Acc"][before]))]
    newest = {name: values[late] for name, values in holdout.columns.items()}
    numbers = real["Num_Acc"].to_numpy()
    early, mixed = (
        _fit_and_score(real[thin_accidents(numbers, rows, MAX_OUT_OF_TIME_ROWS)], newest, feature_set, seed, jobs)
        for rows in (before, np.isin(numbers, drawn))
    )
    metrics = {"roc_auc_out_of_time": roc_auc(label, early), "roc_auc_in_time": roc_auc(label, mixed)}
    probability = 1 / (1 + np.exp(-early))
    months = []
    for number in np.unique(holdout_month[late]):
        of_month = holdout_month[late] == number
        if of_month.sum() >= MIN_ROWS and 0 < label[of_month].mean() < 1:
            rows = (label[of_month], probability[of_month], newest["Num_Acc"][of_month])
            months.append(evaluate_slice(DIMENSION, format_month(number), *rows, seed))
    return metrics, months


def _fit_and_score(
    training: pd.DataFrame, newest: dict[str, NDArray[np.generic]], feature_set: str, seed: int, jobs: int
) -> NDArray[np.float64]:
    """Margins, shape (n,), of a fast model of the training rows on the newest rows."""
    columns = extract_columns(training)
    spec = FeatureSpec.learn(columns, feature_set)
    label = severe_label(columns["grav"])
    rows = TrainingRows(build_features(columns, spec, training_rows=True), label, np.ones(len(label), dtype=np.float32))
    return compute_margins(fit_boosting(rows, FAST_BOOSTING, seed, jobs), build_features(newest, spec))
