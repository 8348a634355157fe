"""Edges of the gate's rules: equality with a limit, values that are missing, and the recorded words and detail."""

from dataclasses import asdict

import pytest

from accident_reco.lifecycle.gate import Comparison, Decision, Evaluation, GatePolicy, Interval, SliceGain, decide

NEW, OLD = "a" * 16, "b" * 16
POLICY = GatePolicy("auc", True, floor=0.5, minimum_gain=0.25, limits={"ece": 0.25}, slice_rows=10, slice_tolerance=0.5)
ERROR = GatePolicy("rmse", False, floor=1.0, minimum_gain=0.25)
# Halves and quarters are exact in binary, so that equality means equality.
CHAMPION = Evaluation(OLD, {"auc": 0.5, "rmse": 0.75, "ece": 0.5})


def candidate(**metrics: float) -> Evaluation:
    return Evaluation(NEW, {"auc": 0.75, "rmse": 0.5, "ece": 0.5} | metrics)


def comparison(*slices: SliceGain, value: float = 0.25, low: float = 0.125, rows: int = 1000) -> Comparison:
    return Comparison(rows, 500, Interval(value, low, 0.375), slices)


def part(name: str, rows: int, high: float) -> SliceGain:
    return SliceGain(name, rows, Interval(-1.0, -2.0, high))


GAIN = "auc 0.7500 vs 0.5000: gain +0.2500 [+0.1250, +0.3750]"


@pytest.mark.parametrize(
    ("policy", "value", "reason"),
    [
        (POLICY, {"auc": 0.5}, "first version: auc 0.5000 passes the floor 0.5000"),
        (POLICY, {"auc": 0.4375}, "auc 0.4375 is below the floor 0.5000"),
        (ERROR, {"rmse": 1.0}, "first version: rmse 1.0000 passes the limit 1.0000"),
        (ERROR, {"rmse": 1.0625}, "rmse 1.0625 is above the limit 1.0000"),
    ],
)
def test_the_floor_itself_passes(policy: GatePolicy, value: dict[str, float], reason: str) -> None:
    """Exactly on the floor is good enough, in either sense of the metric."""
    decision = decide(candidate(**value), None, None, policy)
    assert decision.reason == reason
    assert decision.promote == reason.startswith("first version")


def test_a_metric_that_was_not_measured_fails_the_floor() -> None:
    """An evaluation without the deciding metric is refused like NaN, with a reason and not with an error."""
    decision = decide(Evaluation(NEW, {}), None, None, POLICY)
    assert not decision.promote
    assert decision.reason == "auc nan is below the floor 0.5000"


@pytest.mark.parametrize(
    ("policy", "against", "promote", "reason"),
    [
        (POLICY, comparison(), True, f"{GAIN} over 500 groups, no slice is worse"),
        (
            ERROR,
            comparison(),
            True,
            "rmse 0.5000 vs 0.7500: gain +0.2500 [+0.1250, +0.3750] over 500 groups, no slice is worse",
        ),
        (
            POLICY,
            comparison(value=0.1875),
            False,
            "auc 0.7500 vs 0.5625: gain +0.1875 [+0.1250, +0.3750] is below 0.25",
        ),
        (
            POLICY,
            comparison(value=float("nan")),
            False,
            "auc 0.7500 vs nan: gain +nan [+0.1250, +0.3750] is below 0.25",
        ),
        (
            POLICY,
            comparison(low=0.0),
            False,
            "auc 0.7500 vs 0.5000: gain +0.2500 [+0.0000, +0.3750] is not significant",
        ),
        (
            POLICY,
            comparison(low=1e-9),
            True,
            "auc 0.7500 vs 0.5000: gain +0.2500 [+0.0000, +0.3750] over 500 groups, no slice is worse",
        ),
        (
            POLICY,
            comparison(low=float("nan")),
            False,
            "auc 0.7500 vs 0.5000: gain +0.2500 [+nan, +0.3750] is not significant",
        ),
    ],
)
def test_gain_at_the_minimum_and_interval_at_zero(
    policy: GatePolicy, against: Comparison, promote: bool, reason: str
) -> None:
    """The minimum gain itself is enough; an interval that touches zero is not; what is not a number never is."""
    decision = decide(candidate(), CHAMPION, against, policy)
    assert (decision.promote, decision.reason) == (promote, reason)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_comparison_needs_a_row(rows: int) -> None:
    """A comparison on no rows is none; one row is for the interval to judge."""
    decision = decide(candidate(), CHAMPION, comparison(rows=rows), POLICY)
    assert decision.promote == (rows == 1)
    if not rows:
        assert decision.reason == "candidate and champion were not compared on the same holdout rows"


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ({"ece": 0.75}, {"ece": 0.5}, None),
        ({"ece": 0.8125}, {"ece": 0.5}, "but ece 0.8125 is worse than 0.5000 by more than 0.25"),
        ({}, {"ece": 0.5}, "but ece nan is worse than 0.5000 by more than 0.25"),
        ({"ece": 0.5}, {}, "but ece 0.5000 is worse than nan by more than 0.25"),
    ],
)
def test_a_limited_metric_may_use_its_slack_and_no_more(ours: dict, theirs: dict, words: str | None) -> None:
    """Worse by exactly the slack passes; a limit on a metric that either side lacks cannot be shown to hold."""
    decision = decide(
        Evaluation(NEW, {"auc": 0.75} | ours), Evaluation(OLD, {"auc": 0.5} | theirs), comparison(), POLICY
    )
    assert decision.promote == (words is None)
    assert words is None or decision.reason == f"{GAIN}, {words}"


@pytest.mark.parametrize(
    ("slices", "words"),
    [
        ([part("night", 10, -0.5)], None),
        ([part("night", 10, -0.25)], None),
        ([part("night", 9, -0.75)], None),
        ([part("night", 10, -0.75)], "but slices are worse: night -1.0000 on 10 rows"),
        (
            [part("night", 10, -0.75), part("rain", 11, 0.0), part("snow", 12, -0.75)],
            "but slices are worse: night -1.0000 on 10 rows, snow -1.0000 on 12 rows",
        ),
    ],
)
def test_a_slice_is_worse_below_the_tolerance_and_from_enough_rows(slices: list[SliceGain], words: str | None) -> None:
    """The high end exactly at minus the tolerance is tolerated; the row limit itself is enough rows; all are named."""
    decision = decide(candidate(), CHAMPION, comparison(*slices), POLICY)
    assert decision.promote == (words is None), decision.reason
    assert words is None or decision.reason == f"{GAIN}, {words}"


@pytest.mark.parametrize(
    ("blocked", "problems", "reason"),
    [
        ((), ["no labels"], "the data fails its checks: no labels"),
        ((), ["no labels", "no rows"], "the data fails its checks: no labels (and 1 more)"),
        ((NEW,), (), f"{NEW} was rolled back by a user, which blocks it from promotion"),
        ((OLD,), (), f"{GAIN} over 500 groups, no slice is worse"),
    ],
)
def test_what_refuses_before_any_metric(blocked, problems, reason: str) -> None:
    """Failing data and a rollback by a user are stated in full; another version's rollback does not count."""
    assert decide(candidate(), CHAMPION, comparison(), POLICY, blocked, problems).reason == reason


def test_detail_is_complete_in_refusal_and_promotion() -> None:
    """The audit reads policy, metric and, once compared, champion and comparison, whatever the decision is."""
    first = {"candidate": NEW, "policy": asdict(POLICY), "auc": 0.75}
    assert decide(candidate(), None, None, POLICY).detail == first
    assert decide(candidate(), CHAMPION, None, POLICY).detail == first
    for against in (comparison(), comparison(value=0.0)):
        detail = decide(candidate(), CHAMPION, against, POLICY).detail
        assert detail == first | {"champion": OLD, "comparison": asdict(against)}


def test_document_keeps_every_level_and_nulls_what_is_no_number() -> None:
    """JSON of the decision: names as stated, numbers kept, NaN and infinities null at any depth."""
    detail = {"gain": {"low": float("-inf"), "value": 0.5}, "slices": [{"rows": 3, "high": float("nan")}], 1: (2.0,)}
    assert Decision(True, "better", detail).document() == {
        "promote": True,
        "reason": "better",
        "detail": {"gain": {"low": None, "value": 0.5}, "slices": [{"rows": 3, "high": None}], "1": [2.0]},
    }
