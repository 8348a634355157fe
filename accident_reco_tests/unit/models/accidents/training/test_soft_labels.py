"""Soft labels: out-of-fold predictions without leakage of labels."""

import numpy as np
import pytest

from accident_reco.models.accidents.training import soft_labels
from accident_reco.models.accidents.training.fitting import BoostingParameters
from accident_reco.models.accidents.training.metrics import log_loss, roc_auc
from accident_reco.models.accidents.training.training_rows import extract_columns, in_validation, severe_label
from accident_reco_tests.support.population import build_population

QUICK = BoostingParameters(rounds=20, leaves=7, rate=0.2, leaf=10, members=1)


@pytest.fixture(scope="module")
def columns():
    return extract_columns(build_population(600, 3))


def test_others_are_counted_without_oneself():
    """Three road users of one accident, one alone: the own severity is not counted."""
    columns = {"Num_Acc": np.array([7, 7, 9, 7]), "grav": np.array([2, 1, 4, 1])}
    np.testing.assert_array_equal(
        soft_labels.count_severities_of_others(columns), [[2, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]]
    )


def test_folds_keep_accidents_whole(columns):
    """Otherwise a model would be trained on the other users of an accident, whose severities are related."""
    fold = soft_labels.assign_folds(columns["Num_Acc"], 4, 1)
    assert set(fold) == {0, 1, 2, 3}
    assert all(len(set(fold[columns["Num_Acc"] == number])) == 1 for number in np.unique(columns["Num_Acc"])[:50])


def test_soft_label_does_not_depend_on_the_own_label(columns):
    """Changed labels of one fold change the soft labels of other folds, never those of the fold itself."""
    excluded = np.zeros(len(columns["grav"]), dtype=bool)
    before = soft_labels.predict_out_of_fold(columns, excluded, QUICK, 0, 1)
    fold = soft_labels.assign_folds(columns["Num_Acc"], soft_labels.FOLDS, 0)
    alone = soft_labels.count_severities_of_others(columns).sum(axis=1) == 0
    other = np.array([0, 2, 1, 4, 3])
    changed = {**columns, "grav": np.where((fold == 1) & alone, other[columns["grav"]], columns["grav"])}
    after = soft_labels.predict_out_of_fold(changed, excluded, QUICK, 0, 1)
    assert (after[fold == 1] == before[fold == 1]).all()
    assert (after[fold == 2] != before[fold == 2]).any()


def test_validation_rows_are_not_trained_on(columns):
    """Calibration is fitted on them: their labels do not change any soft label of other rows."""
    excluded = in_validation(columns["Num_Acc"], 0.2)
    before = soft_labels.predict_out_of_fold(columns, excluded, QUICK, 0, 1)
    changed = {**columns, "grav": np.where(excluded, 1, columns["grav"])}
    after = soft_labels.predict_out_of_fold(changed, excluded, QUICK, 0, 1)
    assert (after[~excluded] == before[~excluded]).all()


def test_soft_labels_are_better_than_chance(columns):
    """Out-of-fold probabilities rank well above chance and have a lower log loss than the prevalence."""
    label = severe_label(columns["grav"])
    soft = soft_labels.predict_out_of_fold(columns, np.zeros(len(label), dtype=bool), QUICK, 0, 1)
    assert roc_auc(label, soft) > 0.7
    assert log_loss(label, soft) < log_loss(label, np.full(len(label), label.mean()))
