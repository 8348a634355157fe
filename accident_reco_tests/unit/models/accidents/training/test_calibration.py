"""Calibration: from margins to probabilities, a class and an uncertainty flag."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from accident_reco.models.accidents.scoring.scorer import DecisionRule
from accident_reco.models.accidents.training import calibration, metrics

FITS = (calibration.fit_platt, calibration.fit_beta, calibration.fit_spline, calibration.fit_isotonic)


@pytest.fixture(scope="module")
def margins() -> tuple[np.ndarray, np.ndarray]:
    """Overconfident and shifted log-odds, as after training on another class mix, and labels."""
    rng = np.random.default_rng(0)
    truth = rng.normal(-1.5, 1.5, 20_000)
    return truth * 2 + 1, (rng.random(20_000) < 1 / (1 + np.exp(-truth))).astype(np.int8)


@pytest.mark.parametrize("fit", FITS)
def test_curves_correct_the_class_mix_and_keep_ranks(fit, margins):
    """Probabilities are calibrated on rows that the curve was not fitted on; the curve is monotone."""
    x, y = margins
    knots, curve = fit(x[:10_000], y[:10_000])
    assert (np.diff(curve) >= 0).all()
    p = np.interp(x[10_000:], knots, curve)
    assert metrics.expected_calibration_error(y[10_000:], p) < 0.02
    assert metrics.expected_calibration_error(y[10_000:], 1 / (1 + np.exp(-x[10_000:]))) > 0.08
    assert metrics.roc_auc(y[10_000:], p) > metrics.roc_auc(y[10_000:], x[10_000:]) - 0.001


def test_threshold_follows_the_stated_cost(margins):
    """With calibrated probabilities and a miss that costs four false alarms the threshold is one fifth."""
    x, y = margins
    assert calibration.fit_decision_rule(x, y, 4.0, 0.9, seed=0).threshold == pytest.approx(0.2, abs=0.03)
    assert calibration.fit_decision_rule(x, y, 1.0, 0.9, seed=0).threshold == pytest.approx(0.5, abs=0.06)


def test_conformal_bounds_cover_each_class(margins):
    """Class-conditional conformal prediction: nine in ten of the severe and of the light are not excluded."""
    x, y = margins
    rule = calibration.fit_decision_rule(x[:10_000], y[:10_000], 4.0, 0.9, seed=0)
    p = rule.probability(x[10_000:])
    assert np.mean(p[y[10_000:] == 1] >= rule.uncertain_from) == pytest.approx(0.9, abs=0.02)
    assert np.mean(p[y[10_000:] == 0] <= rule.uncertain_to) == pytest.approx(0.9, abs=0.02)
    assert DecisionRule.from_json(rule.to_json()).to_json() == rule.to_json()


@pytest.mark.parametrize("fit", FITS)
def test_curves_of_margins_in_a_narrow_range(fit, margins):
    """A forest's margins are shares between 0 and 1, most of them near 0; some have one value only."""
    x, y = margins
    share = 1 / (1 + np.exp(-x))
    p = np.interp(share[10_000:], *fit(share[:10_000], y[:10_000]))
    assert metrics.expected_calibration_error(y[10_000:], p) < 0.05
    knots, curve = fit(np.zeros(50), y[:50])
    assert np.isfinite(curve).all()
    assert np.interp(0.0, knots, curve) == pytest.approx(y[:50].mean(), abs=0.02)


def test_a_curve_that_no_line_fits_is_a_spline(margins):
    """Both ends bend the same way as after soft labels: the logistic line is worse by log loss there."""
    x, _ = margins
    truth = 1 / (1 + np.exp(-np.sign(x) * np.abs(x) ** 1.6 / 2))
    y = (np.random.default_rng(2).random(len(x)) < truth).astype(np.int8)
    best = calibration._fit_best_curve(x, y, 0)
    loss = [metrics.log_loss(y, np.interp(x, *curve)) for curve in (best, calibration.fit_platt(x, y))]
    assert loss[0] < loss[1] - 0.001


def test_metrics_agree_with_scikit_learn(margins):
    """Our numpy metrics against an independent implementation, ties included."""
    x, y = margins
    p = np.round(1 / (1 + np.exp(-x)), 2)
    found = metrics.evaluate(y, p, 0.5)
    assert found["roc_auc"] == pytest.approx(roc_auc_score(y, p))
    assert found["average_precision"] == pytest.approx(average_precision_score(y, p))
    assert found["brier"] == pytest.approx(brier_score_loss(y, p))
    assert found["accuracy"] == found["accuracy_at_half"]
    assert found["majority_accuracy"] == pytest.approx(max(y.mean(), 1 - y.mean()))
