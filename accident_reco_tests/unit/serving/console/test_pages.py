"""What pages compute themselves: little, and without a service."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from accident_reco.registry import all_models
from serving.common.problems import Problem
from serving.console.api import ApiProblem, segment
from serving.console.pages.monitoring import build_chart_lines, list_ended
from serving.console.pages.overview import build_history, describe_readiness
from serving.console.problem_pages import describe_api_problem, describe_http_problem
from serving.console.rendering import (
    build_dagster_url,
    build_mlflow_url,
    format_duration,
    format_number,
    format_percent,
    format_time,
)


def version(
    name: str, metrics: dict[str, float], gain: dict[str, float] | None, champion: bool = False
) -> dict[str, Any]:
    gate = {} if gain is None else {"detail": {"comparison": {"gain": gain}}}
    return {
        "version": name,
        "created_at": "2026-01-02T03:04:05+00:00",
        "champion": champion,
        "metrics": metrics,
        "gate": gate,
    }


def test_history_of_the_deciding_metric() -> None:
    """Oldest first, the champion marked, the gate's interval around the value, a gap where there is no value."""
    model = all_models()["accidents"]
    metric = model.task.metric
    gain = {"value": 0.02, "low": 0.01, "high": 0.05}
    details = {
        "versions": [version("c", {metric: 0.9}, gain, True), version("b", {}, gain), version("a", {metric: 0.8}, None)]
    }
    first, second, third = build_history(model, details).points
    assert (first.value, first.low, second.value) == (0.8, None, None)
    assert (third.low, third.high, third.is_marked) == (pytest.approx(0.89), pytest.approx(0.93), True)
    assert build_history(model, None).points == []


def test_readiness_in_words() -> None:
    """The problem of the service, else those of its models, else its status."""
    assert describe_readiness({"status": "not ready", "problem": "the warehouse is away"}) == "the warehouse is away"
    models = {
        "a": {"version": None, "problem": None},
        "b": {"version": "v"},
        "c": {"version": None, "problem": "no store"},
    }
    assert describe_readiness({"models": models}) == "a: no version serves; c: no store"
    assert describe_readiness({"status": "draining"}) == "draining"


def test_ended_trainings_have_a_duration() -> None:
    """From the request to its end; a running one has none yet."""
    times = {"requested_at": "2026-01-01T00:00:00.000+00:00", "updated_at": "2026-01-01T00:01:30.500+00:00"}
    ended = list_ended([{"status": "promoted"} | times, {"status": "running"} | times])
    assert [each["seconds"] for each in ended] == [90.5]


def test_lines_of_a_chart_are_named_by_their_age() -> None:
    """At most eight lines; the last point is now."""
    lines = build_chart_lines({f"line {i}": [1.0, None, 2.0] for i in range(9)}, 6)
    assert len(lines) == 8
    assert [point.name for point in lines[0].points] == ["4 h ago", "2 h ago", "now"]


@pytest.mark.parametrize(
    ("problem", "title", "step"),
    [
        (ApiProblem("predict", 503, "No champion", "", kind="no-champion"), "No champion", "make pipeline"),
        (ApiProblem("drift", 503, "It is down", "", kind="unreachable"), "It is down", "accident-reco status"),
        (ApiProblem("predict", 422, "Invalid request", ""), "Invalid", "correct"),
        (ApiProblem("predict", 418, "A teapot", ""), "A teapot", "request id"),
        (Problem(404, "There is no such page."), "There is no such page", "overview"),
        (Problem(403, "", kind="missing-scope"), "Not allowed", "Ask an admin"),
        (Problem(500, "", kind="internal"), "This page failed", "request id"),
    ],
)
def test_every_problem_has_a_next_step(problem: Any, title: str, step: str) -> None:
    """Of a service and of the console itself."""
    page = describe_api_problem(problem) if isinstance(problem, ApiProblem) else describe_http_problem(problem)
    assert title in page.title
    assert step in page.next_step


def test_numbers_and_times_as_people_read_them() -> None:
    """Missing, huge, tiny and odd values."""
    assert [format_number(v) for v in (None, float("nan"), True, 0, 12_345, 0.12345, 2.0)] == [
        "–",
        "–",
        "–",
        "0",
        "12\u202f345",
        "0.123",
        "2",
    ]
    assert format_percent(0.256) == "26\u202f%"
    assert [format_duration(v) for v in (None, 0.25, 60, 600, 36_000)] == [
        "–",
        "250\u202fms",
        "60.0\u202fs",
        "10\u202fmin",
        "10.0\u202fh",
    ]
    shown = '<time datetime="2026-01-02T03:04:05+00:00">2026-01-02 03:04 UTC</time>'
    assert format_time("2026-01-02T04:04:05+01:00") == shown
    assert format_time(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == shown
    assert format_time("<b>") == "<b>"
    assert format_time(None) == "–"


def test_links_to_programs() -> None:
    """Names are quoted; no link where a program has no pages."""
    urls = {"dagster": "http://d", "mlflow": "", "grafana": ""}
    assert build_dagster_url(urls, "assets", "a/b c") == "http://d/assets/a/b%20c"
    assert build_dagster_url(urls, "runs", None) == ""
    assert build_mlflow_url(urls, "r") == ""
    assert build_mlflow_url(urls | {"mlflow": "http://m"}, "r") == "http://m/#/runs/r"
    assert segment("a/../b?c#d") == "a%2F..%2Fb%3Fc%23d"
