"""The gate's metrics by their definition on every small ranking, and its interval where it is known exactly."""

from itertools import product

import numpy as np
import pytest

from accident_reco.lifecycle.gate import (
    Interval,
    average_precision_statistic,
    mean_statistic,
    paired_bootstrap,
    rmse_statistic,
    roc_auc_statistic,
)

TWO = ["b", "a"]
"""Two groups: a draw has the first twice, each once, or the second twice, with probability 1/4, 1/2, 1/4."""
ZERO = mean_statistic([0.0, 0.0])


def auc_by_pairs(y: np.ndarray, score: np.ndarray) -> float:
    """Share of pairs of a positive and a negative that the score orders rightly; equal scores count one half."""
    pairs = [(float(a) > b) + 0.5 * (float(a) == b) for a in score[y == 1] for b in score[y == 0]]
    return float(np.mean(pairs)) if pairs else float("nan")


def precision_by_thresholds(y: np.ndarray, score: np.ndarray) -> float:
    """Σ (Rₙ − Rₙ₋₁) Pₙ, with recall and precision of all rows at or above each distinct score."""
    if not y.sum():
        return float("nan")
    total, before = 0.0, 0.0
    for threshold in sorted(set(score.tolist()), reverse=True):
        recall = y[score >= threshold].sum() / y.sum()
        total, before = total + (recall - before) * y[score >= threshold].mean(), recall
    return total


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4])
def test_every_small_ranking_follows_the_definition(rows: int) -> None:
    """All labels and all ties of up to four rows; a class without rows gives NaN; unsigned scores do not wrap."""
    for labels, scores in product(product([0, 1], repeat=rows), product([0, 1, 2], repeat=rows)):
        y, score, ones = np.array(labels, dtype=int), np.array(scores, dtype=np.uint8), np.ones(rows)
        np.testing.assert_allclose(roc_auc_statistic(y, score)(ones), auc_by_pairs(y, score), rtol=1e-12)
        ours = average_precision_statistic(y, score)(ones)
        np.testing.assert_allclose(ours, precision_by_thresholds(y, score), rtol=1e-12)


def test_weights_count_as_repeated_rows() -> None:
    """A row of weight two is the row twice, one of weight zero is none: also where it comes first."""
    y, score, weights = np.array([1, 0, 1, 0]), np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.0, 1.0, 2.0, 1.0])
    copies = np.repeat(np.arange(4), weights.astype(int))
    assert roc_auc_statistic(y, score)(weights) == pytest.approx(auc_by_pairs(y[copies], score[copies]))
    ours = average_precision_statistic(y, score)(weights)
    assert ours == pytest.approx(precision_by_thresholds(y[copies], score[copies]))


def test_errors_in_a_small_integer_type_do_not_overflow() -> None:
    """100² is no int8."""
    assert rmse_statistic(np.array([100, -100], dtype=np.int8))(np.ones(2)) == 100.0


@pytest.mark.parametrize(("higher_is_better", "sign"), [(True, 1.0), (False, -1.0)])
def test_gain_is_the_plain_difference_in_the_metrics_sense(higher_is_better: bool, sign: float) -> None:
    """With equal weights the gain is the difference of the metrics; a lower error is a positive gain."""
    statistic = mean_statistic([1.0, 2.0])
    gain = paired_bootstrap(TWO, statistic, mean_statistic([0.5, 0.5]), higher_is_better=higher_is_better)
    assert gain.value == sign * 1.0
    assert (gain.low, gain.high) == ((0.5, 1.5) if higher_is_better else (-1.5, -0.5))


@pytest.mark.parametrize(
    ("confidence", "low", "high"), [(0.95, 0.0, 1.0), (0.6, 0.0, 1.0), (0.4, 0.5, 0.5), (0.0, 0.5, 0.5)]
)
def test_interval_leaves_out_half_of_the_rest_on_either_side(confidence: float, low: float, high: float) -> None:
    """Two groups of values 0 and 1 have means 0, 1/2 and 1 in 1/4, 1/2 and 1/4 of the draws: quantiles are known."""
    gain = paired_bootstrap(TWO, mean_statistic([0.0, 1.0]), ZERO, higher_is_better=True, confidence=confidence)
    assert gain == Interval(0.5, low, high)


def test_draws_are_repeatable_and_as_many_as_stated() -> None:
    """Defaults: 400 draws, 95 %, seed 0; the same arguments give the same interval, another seed another one."""
    values = np.random.default_rng(3).normal(size=30)
    statistic, zero = mean_statistic(values), mean_statistic(np.zeros(30))
    stated = paired_bootstrap(np.arange(30), statistic, zero, higher_is_better=True, draws=400, confidence=0.95, seed=0)
    assert paired_bootstrap(np.arange(30), statistic, zero, higher_is_better=True) == stated
    assert paired_bootstrap(np.arange(30), statistic, zero, higher_is_better=True, seed=1) != stated
    # The percentile interval of a mean of 30 is near the normal one.
    assert stated.high - stated.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(30), rel=0.1)


def test_no_rows_have_a_value_and_no_error() -> None:
    """Statistics that are defined without rows are compared; there is nothing to draw from."""
    assert paired_bootstrap([], lambda _: 2.0, lambda _: 1.5, higher_is_better=True) == Interval(0.5, 0.5, 0.5)
