"""Comparisons of sampled requests: many in one call, with the results of single calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from accident_reco.lifecycle.rollout.decision import RolloutPolicy
from accident_reco.lifecycle.rollout.evidence import summarize_calls
from accident_reco_tests.support.rollout_jobs import METHOD, ONE, TWO, Inputs, Version, job, outcomes, running
from serving.predict.rollout.comparison import Job, Row, Window, build_rows, compute, time_both
from serving.predict.rollout.work import Method, Outcome, agreement, merge_columns, merge_lists


def rows_of(jobs: Sequence[Job]) -> list[list[Row]]:
    return [build_rows(one, [None] * len(one.ids), found, None) for one, found in zip(jobs, compute(jobs), strict=True)]


def test_requests_of_a_kind_are_one_call() -> None:
    challenger = Version(0.25)
    now = running(challenger)
    jobs = [job(now, [0.0]), job(now, [0.1, 0.4]), job(now, [0.2])]
    assert compute(jobs) == [outcomes([0.25]), outcomes([0.35, 0.65]), outcomes([0.45])]
    assert challenger.calls == [4]
    assert compute([]) == []


def test_other_methods_keys_and_versions_are_calls_of_their_own() -> None:
    champion, challenger = Version(0.0), Version(0.25)
    now = running(challenger, champion)
    by_size: Method[Inputs, list[float]] = Method(METHOD.compute, outcomes, merge_lists, key=len)
    jobs = [
        job(now, [0.0]),
        job(now, [0.1], method=by_size),
        job(now, [0.2, 0.2], method=by_size),
        job(now, [0.3], method=by_size),
        job(now, [0.4], by_challenger=True),
    ]
    assert compute(jobs) == [outcomes(one) for one in ([0.25], [0.35], [0.45, 0.45], [0.55], [0.4])]
    assert (challenger.calls, champion.calls) == ([1, 2, 2], [1])


def test_of_requests_computed_together_only_those_that_fail_count_as_failed() -> None:
    now = running(Version(0.25, fails=True))
    jobs = [job(now, [0.0]), job(now, [-1.0, 0.0]), job(now, [0.5])]
    problems = [[row["problem"] for row in rows] for rows in rows_of(jobs)]
    assert problems == [[None], ["failed", "failed"], [None]]


def test_a_result_of_another_length_is_no_result_of_any_request() -> None:
    """A method that answers fewer rows for a merged request than for single ones is called singly."""
    one_row: Method[Inputs, list[float]] = Method(METHOD.compute, lambda result: outcomes(result[:1]), merge_lists)
    now = running(Version(0.25))
    jobs = [job(now, [0.1], method=one_row), job(now, [0.2], method=one_row)]
    assert compute(jobs) == [outcomes([0.1 + 0.25]), outcomes([0.45])]


@pytest.mark.parametrize("by_challenger", [False, True])
def test_rows_name_both_versions_whoever_answered(by_challenger: bool) -> None:
    now = running(Version(0.25))
    (rows,) = rows_of([job(now, [0.1, 0.4], by_challenger=by_challenger)])
    assert [(row["champion_score"], row["challenger_score"], row["agreement"]) for row in rows] == [
        (0.1, 0.35, 1.0),
        (0.4, 0.65, 0.0),
    ]
    assert {row["answered_by"] for row in rows} == {TWO if by_challenger else ONE}


def test_problems() -> None:
    broken = running(Version(0.0), Version(0.0, fails=True))
    assert rows_of([job(broken, [-1.0], by_challenger=True)])[0][0]["problem"] == "champion_failed"
    now = running(Version(np.nan))
    row = rows_of([job(now, [0.1])])[0][0]
    assert (row["problem"], row["challenger_score"]) == ("not_finite", None)
    assert rows_of([job(now, [0.1], failed=True)])[0][0]["problem"] == "failed"


def test_a_call_with_several_predictions_is_one_measurement() -> None:
    now = running(Version(0.25))
    one = job(now, [0.1, 0.2])
    rows = build_rows(one, ["x", "y"], compute([one])[0], (1.0, 2.0))
    assert [(row["champion_ms"], row["challenger_ms"]) for row in rows] == [(1.0, 2.0), (None, None)]
    assert [row["group_key"] for row in rows] == ["x", "y"]


def test_both_are_timed_on_the_request_alone() -> None:
    champion, challenger = Version(0.0), Version(0.0, fails=True)
    now = running(challenger, champion)
    found = time_both(job(now, [0.1, 0.2]), champion_first=True)
    assert found is not None
    assert min(found) > 0
    assert (champion.calls, challenger.calls) == ([2], [2])
    assert time_both(job(now, [-1.0]), champion_first=False) is None
    assert champion.calls == [2], "the challenger came first, and failed"


def test_the_window_keeps_the_newest_of_one_step() -> None:
    window, now = Window(5), running(Version(0.25))

    def add(step: str, *values: float) -> None:
        jobs = [job(now, [value]) for value in values]
        window.add(step, [row for rows in rows_of(jobs) for row in rows])

    def kept() -> list[float]:
        return sorted(window.columns()["champion_score"].tolist())

    assert kept() == []
    add("first", 0.0, 0.1, 0.2)
    assert kept() == [0.0, 0.1, 0.2]
    add("first", 0.3, 0.4, 0.5, 0.6)
    assert kept() == [0.2, 0.3, 0.4, 0.5, 0.6]
    assert summarize_calls(window.columns(), RolloutPolicy()).compared == 5
    add("first", *(float(n) for n in range(8)))
    assert kept() == [3.0, 4.0, 5.0, 6.0, 7.0]
    add("second", 0.7)
    assert kept() == [0.7]
    assert window.timed == 0
    window.add("second", build_rows(job(now, [0.1]), [None], [Outcome(0.1, True)], (1.0, 2.0)))
    assert window.timed == 1


def test_columns_are_merged_in_order() -> None:
    parts: list[Mapping[str, np.ndarray]] = [
        {"a": np.array([1, 2]), "b": np.array(["x", None], dtype=object)},
        {"a": np.array([3]), "b": np.array(["y"], dtype=object)},
    ]
    assert {name: values.tolist() for name, values in merge_columns(parts).items()} == {
        "a": [1, 2, 3],
        "b": ["x", None, "y"],
    }


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        (True, True, 1.0),
        ("severe", "minor", 0.0),
        ([1, 2, 3, 4], [4, 3, 9, 8], 0.5),
        ([], [], 1.0),
        ({"score": 0.1, "high": True}, {"score": 0.2, "high": True}, 1.0),
        ({"score": 0.1, "high": True}, {"score": 0.1, "high": False}, 0.0),
    ],
)
def test_agreement(one: Any, two: Any, expected: float) -> None:
    """Scores are compared by their distance: of an answer with several fields only the classes must agree."""
    assert agreement(one, two) == expected
