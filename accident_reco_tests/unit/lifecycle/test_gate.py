"""The gate's decisions as a table of cases, and its statistics against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from accident_reco.lifecycle.gate import (
    Comparison,
    Evaluation,
    GatePolicy,
    Interval,
    SliceGain,
    average_precision_statistic,
    decide,
    mean_statistic,
    paired_bootstrap,
    rmse_statistic,
    roc_auc_statistic,
)

HIGHER = GatePolicy("average_precision", True, floor=0.3, minimum_gain=0.002, limits={"ece": 0.005}, slice_rows=300)
LOWER = GatePolicy("rmse", False, floor=1.2, minimum_gain=0.002)
NEW, OLD = "a" * 16, "b" * 16


def _compare(gain: float, low: float, high: float, *slices: SliceGain) -> Comparison:
    return Comparison(1000, 500, Interval(gain, low, high), slices)


def _evaluation(version: str, value: float, ece: float = 0.01) -> Evaluation:
    return Evaluation(version, {"average_precision": value, "rmse": value, "ece": ece})


BETTER = _compare(0.02, 0.01, 0.03)
CASES = {
    "first version passes the floor": (_evaluation(NEW, 0.5), None, None, HIGHER, (), True, "first version"),
    "first version below the floor": (_evaluation(NEW, 0.2), None, None, HIGHER, (), False, "below the floor"),
    "not a number never passes": (_evaluation(NEW, float("nan")), None, None, HIGHER, (), False, "floor"),
    "an error metric above its limit": (_evaluation(NEW, 1.3), None, None, LOWER, (), False, "above the limit"),
    "clearly better": (_evaluation(NEW, 0.52), _evaluation(OLD, 0.5), BETTER, HIGHER, (), True, "gain +0.0200"),
    "lower error is better": (_evaluation(NEW, 0.87), _evaluation(OLD, 0.89), BETTER, LOWER, (), True, "0.8900"),
    "same version": (_evaluation(NEW, 0.5), _evaluation(NEW, 0.5), None, HIGHER, (), False, "serves already"),
    "rolled back by a user": (_evaluation(NEW, 0.9), _evaluation(OLD, 0.5), BETTER, HIGHER, (NEW,), False, "by a user"),
    "not compared": (_evaluation(NEW, 0.9), _evaluation(OLD, 0.5), None, HIGHER, (), False, "not compared"),
    "gain too small": (
        _evaluation(NEW, 0.501),
        _evaluation(OLD, 0.5),
        _compare(0.001, 0.0005, 0.002),
        HIGHER,
        (),
        False,
        "below 0.002",
    ),
    "gain is not significant": (
        _evaluation(NEW, 0.52),
        _evaluation(OLD, 0.5),
        _compare(0.02, -0.01, 0.05),
        HIGHER,
        (),
        False,
        "is not significant",
    ),
    "calibration got worse": (
        _evaluation(NEW, 0.52, ece=0.03),
        _evaluation(OLD, 0.5),
        BETTER,
        HIGHER,
        (),
        False,
        "ece 0.0300 is worse",
    ),
    "gains of other metrics are reported": (
        _evaluation(NEW, 0.52),
        _evaluation(OLD, 0.5),
        Comparison(1000, 500, Interval(0.02, 0.01, 0.03), others={"rmse": Interval(-0.001, -0.002, 0.0005)}),
        HIGHER,
        (),
        True,
        "gain +0.0200 [+0.0100, +0.0300], of rmse -0.0010 [-0.0020, +0.0005] over 500 groups",
    ),
    "calibration is compared on the same rows": (
        _evaluation(NEW, 0.52, ece=0.03),
        _evaluation(OLD, 0.5),
        Comparison(1000, 500, Interval(0.02, 0.01, 0.03), (), {"ece": 0.04}),
        HIGHER,
        (),
        True,
        "gain +0.0200",
    ),
    "a slice got worse": (
        _evaluation(NEW, 0.52),
        _evaluation(OLD, 0.5),
        _compare(0.02, 0.01, 0.03, SliceGain("catv=33", 400, Interval(-0.05, -0.08, -0.02))),
        HIGHER,
        (),
        False,
        "catv=33 -0.0500 on 400 rows",
    ),
    "a small slice does not count": (
        _evaluation(NEW, 0.52),
        _evaluation(OLD, 0.5),
        _compare(0.02, 0.01, 0.03, SliceGain("catv=99", 20, Interval(-0.05, -0.08, -0.02))),
        HIGHER,
        (),
        True,
        "no slice is worse",
    ),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_decision_and_its_reason(case: str) -> None:
    """The reason of a rejection names the failed condition, that of a promotion the gain."""
    candidate, champion, comparison, policy, blocked, promote, words = CASES[case]
    decision = decide(candidate, champion, comparison, policy, blocked)
    assert (decision.promote, words in decision.reason) == (promote, True), decision.reason


def test_document_has_no_nan() -> None:
    """JSON has no NaN, and PostgreSQL refuses it: what is not a number is stored as null."""
    decision = decide(_evaluation(NEW, float("nan")), None, None, HIGHER)
    assert decision.document()["detail"]["average_precision"] is None


def _scores(rows: int = 2000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    y = generator.random(rows) < 0.2
    score = np.round(generator.normal(size=rows) + y, 1)  # rounding makes ties
    return y.astype(int), score, generator.integers(0, 4, rows).astype(float)


def test_statistics_equal_scikit_learn_with_weights_and_ties() -> None:
    """The sorted-once statistics are the textbook metrics, for any weights."""
    y, score, weights = _scores()
    assert average_precision_statistic(y, score)(weights) == pytest.approx(
        average_precision_score(y, score, sample_weight=weights), abs=1e-12
    )
    assert roc_auc_statistic(y, score)(weights) == pytest.approx(
        roc_auc_score(y, score, sample_weight=weights), abs=1e-12
    )
    assert rmse_statistic(score)(weights) == pytest.approx(np.sqrt(np.average(score**2, weights=weights)))
    assert mean_statistic(score)(weights) == pytest.approx(np.average(score, weights=weights))


def test_bootstrap_finds_a_real_gain_and_no_gain_in_a_copy() -> None:
    """Paired draws: a copy gains exactly nothing; a better ranking gains with an interval above zero."""
    y, score, _ = _scores()
    groups = np.arange(len(y)) // 2
    champion = average_precision_statistic(y, score)
    same = paired_bootstrap(groups, champion, champion, higher_is_better=True, draws=50)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    better = paired_bootstrap(
        groups, average_precision_statistic(y, score + y), champion, higher_is_better=True, draws=100
    )
    assert 0 < better.low < better.value < better.high


def test_groups_widen_the_interval() -> None:
    """People of one accident share their fate: resampling rows alone would look too sure."""
    generator = np.random.default_rng(2)
    shared = np.repeat(generator.normal(size=100), 20)
    zero = mean_statistic(np.zeros_like(shared))
    rows = paired_bootstrap(np.arange(2000), mean_statistic(shared), zero, higher_is_better=True)
    grouped = paired_bootstrap(np.repeat(np.arange(100), 20), mean_statistic(shared), zero, higher_is_better=True)
    assert (grouped.high - grouped.low) > 3 * (rows.high - rows.low)


def test_data_that_fails_its_checks_refuses_the_best_candidate():
    """A blocking check stops its own run only; another run's candidate is refused for it, in the check's own words."""
    problems = ["2023: {'id_usager': 3} repeated", "2023: 2.00% accidents without place"]
    decision = decide(_evaluation(NEW, 0.9), None, None, HIGHER, (), problems)
    assert not decision.promote
    assert decision.reason == "the data fails its checks: 2023: {'id_usager': 3} repeated (and 1 more)"


def test_ranking_metrics_of_no_rows_are_undefined() -> None:
    """An empty slice or window has no metric: NaN, which passes no gate, and no IndexError."""
    for statistic in (average_precision_statistic([], []), roc_auc_statistic([], [])):
        assert np.isnan(statistic(np.ones(0)))
