"""Soft labels: out-of-fold predictions without leakage of labels."""

import numpy as np
import pytest

from accident_reco.models.accidents.training import soft_labels
from accident_reco.models.accidents.training.fitting import BoostingParameters
from accident_reco.models.accidents.training.metrics import log_loss, roc_auc
from accident_reco.models.accidents.training.training_rows import extract_columns, get_fold, severe_label
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


def test_soft_label_does_not_depend_on_labels_of_the_own_fold_or_the_held_out_one(columns):
    """Changed labels of one fold change the soft labels of other folds, never its own, nor those of the fit without it.

    That fit is calibrated on the fold: a soft label with its labels in it would make the margins look too good.
    """
    whole, by_fold = soft_labels.predict_out_of_fold(columns, QUICK, 0, 1)
    fold = get_fold(columns["Num_Acc"])
    alone = soft_labels.count_severities_of_others(columns).sum(axis=1) == 0
    other = np.array([0, 2, 1, 4, 3])
    changed = {**columns, "grav": np.where((fold == 1) & alone, other[columns["grav"]], columns["grav"])}
    after, after_by_fold = soft_labels.predict_out_of_fold(changed, QUICK, 0, 1)
    assert (after[fold == 1] == whole[fold == 1]).all()
    assert (after[fold == 2] != whole[fold == 2]).any()
    np.testing.assert_array_equal(after_by_fold[1], by_fold[1])
    assert np.isnan(by_fold[1, fold == 1]).all()
    assert np.isfinite(by_fold[1, fold != 1]).all()
    assert (after_by_fold[0, fold == 2] != by_fold[0, fold == 2]).any()


def test_soft_labels_are_better_than_chance(columns):
    """Out-of-fold probabilities rank well above chance and have a lower log loss than the prevalence."""
    label = severe_label(columns["grav"])
    soft, _ = soft_labels.predict_out_of_fold(columns, QUICK, 0, 1)
    assert roc_auc(label, soft) > 0.7
    assert log_loss(label, soft) < log_loss(label, np.full(len(label), label.mean()))
