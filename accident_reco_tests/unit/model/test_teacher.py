"""Softer labels: who teaches whom, and what a teacher may look at."""

import numpy as np
import pytest

from accident_reco.models.accidents.training import soft_labels
from accident_reco.models.accidents.training.fitting import BoostingParameters
from accident_reco.models.accidents.training.metrics import log_loss, roc_auc
from accident_reco.models.accidents.training.training_rows import columns_of, in_validation, severe_label
from accident_reco_tests.unit.model.people import population

QUICK = BoostingParameters(rounds=20, leaves=7, rate=0.2, leaf=10, members=1)


@pytest.fixture(scope="module")
def people():
    return columns_of(population(600, 3))


def test_others_are_counted_without_oneself():
    """Three people of one accident, one alone: nobody sees their own severity."""
    columns = {"Num_Acc": np.array([7, 7, 9, 7]), "grav": np.array([2, 1, 4, 1])}
    np.testing.assert_array_equal(
        soft_labels.severity_of_others(columns), [[2, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]]
    )


def test_folds_keep_accidents_whole(people):
    """Or a teacher would have met the person's companions, whose severity says a lot."""
    fold = soft_labels.accident_folds(people["Num_Acc"], 4, 1)
    assert set(fold) == {0, 1, 2, 3}
    assert all(len(set(fold[people["Num_Acc"] == number])) == 1 for number in np.unique(people["Num_Acc"])[:50])


def test_a_teacher_never_learnt_from_whom_it_speaks_of(people):
    """Labels of one fold turned around change what is said of others, never what is said of that fold itself."""
    apart = np.zeros(len(people["grav"]), dtype=bool)
    said = soft_labels.out_of_fold(people, apart, QUICK, 0, 1)
    fold = soft_labels.accident_folds(people["Num_Acc"], soft_labels.FOLDS, 0)
    alone = soft_labels.severity_of_others(people).sum(axis=1) == 0
    other = np.array([0, 2, 1, 4, 3])
    spoilt = {**people, "grav": np.where((fold == 1) & alone, other[people["grav"]], people["grav"])}
    again = soft_labels.out_of_fold(spoilt, apart, QUICK, 0, 1)
    assert (again[fold == 1] == said[fold == 1]).all()
    assert (again[fold == 2] != said[fold == 2]).any()


def test_validation_people_teach_nobody(people):
    """Calibration is measured on them: whatever their labels are, all teachers say the same."""
    apart = in_validation(people["Num_Acc"], 0.2)
    said = soft_labels.out_of_fold(people, apart, QUICK, 0, 1)
    spoilt = {**people, "grav": np.where(apart, 1, people["grav"])}
    again = soft_labels.out_of_fold(spoilt, apart, QUICK, 0, 1)
    assert (again[~apart] == said[~apart]).all()


def test_a_teacher_knows_more_than_chance(people):
    """Probabilities of people not learnt from: ranked well above chance, and better than the plain share."""
    label = severe_label(people["grav"])
    said = soft_labels.out_of_fold(people, np.zeros(len(label), dtype=bool), QUICK, 0, 1)
    assert roc_auc(label, said) > 0.7
    assert log_loss(label, said) < log_loss(label, np.full(len(label), label.mean()))
