"""Pure parts of the pages of models: gains against their thresholds, model cards, evidence of a rollout."""

from __future__ import annotations

from typing import Any

import pytest

from accident_reco.lifecycle.evaluation import (
    CalibrationBin,
    Confusion,
    SliceValue,
    VersionEvaluation,
    read_evaluation,
)
from accident_reco.lifecycle.gate import (
    Comparison,
    Evaluation,
    GatePolicy,
    Interval,
    SliceGain,
    decide,
)
from serving.console.markdown import render_markdown
from serving.console.pages.models import MAX_EVALUATIONS, build_evidence, build_gains


def decide_with(gain: Interval, slices: tuple[SliceGain, ...] = ()) -> dict[str, Any]:
    comparison = Comparison(1_000, 500, gain, slices, {}, {"rmse": Interval(0.01, 0.002, 0.02)})
    policy = GatePolicy("roc_auc", True, 0.5, 0.002, slice_rows=300, slice_tolerance=0.005)
    return decide(Evaluation("b", {"roc_auc": 0.8}), Evaluation("a", {}), comparison, policy).document()


@pytest.mark.parametrize(
    ("gain", "tone"),
    [
        (Interval(0.01, 0.004, 0.02), "good"),
        (Interval(0.01, -0.001, 0.02), "bad"),  # not significant
        (Interval(0.001, 0.0005, 0.002), "bad"),  # below the minimum
    ],
)
def test_the_drawing_agrees_with_the_gate(gain: Interval, tone: str) -> None:
    document = decide_with(gain)
    drawn = build_gains(document)
    assert (drawn[0]["name"], drawn[0]["threshold"], drawn[0]["tone"]) == ("roc_auc", 0.002, tone)
    assert document["promote"] is (tone == "good")
    assert drawn[1]["name"] == "rmse"


def test_slices_are_worse_where_the_whole_interval_is() -> None:
    gain, worse = Interval(0.01, 0.004, 0.02), Interval(-0.03, -0.05, -0.01)
    parts = (SliceGain("large", 400, worse), SliceGain("small", 20, worse), SliceGain("fine", 400, gain))
    document = decide_with(gain, parts)
    assert [(one["name"], one["tone"]) for one in build_gains(document)[2:]] == [
        ("large", "bad"),
        ("small", "none"),
        ("fine", "good"),
    ]
    assert not document["promote"]


@pytest.mark.parametrize("gate", [None, {}, {"promote": True, "reason": "first"}, {"detail": {"comparison": None}}])
def test_a_first_version_was_compared_with_none(gate: dict[str, Any] | None) -> None:
    assert build_gains(gate) == []


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "a <b onmouseover=alert(1)>b</b>",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>)",
        "![x](https://example.org/a.png)",
        "| a |\n|:-:|\n| <img src=x> |",
    ],
)
def test_markup_of_a_card_stays_text(text: str) -> None:
    """No element comes from the text's own markup, no script from a link, no picture, no inline style."""
    html = render_markdown(text)
    for forbidden in (
        "<script",
        "<b ",
        "<img",
        '<a href="javascript',
        '<a href="data',
        "style=",
        "onmouseover=alert(1)>",
    ):
        assert forbidden not in html


def test_a_card_has_tables_and_lower_headings() -> None:
    html = render_markdown("# Title\n\n## Part\n\n| a | b |\n|---|--:|\n| 1 | **2** |")
    assert "<h3>Title</h3>" in html
    assert "<h4>Part</h4>" in html
    assert "<strong>2</strong>" in html


def evaluation(hour: int, labels: int, difference: float | None) -> dict[str, Any]:
    """A point of a rollout's curve, as `Evidence.document` returns it."""
    low, high = (None, None) if difference is None or labels < 100 else (difference - 0.1, difference + 0.05)
    own = [0.2, None, None] if low is None else [0.2, 0.15, 0.25]
    losses = {"champion": own, "challenger": own if labels else [0.0, None, None]}
    at = f"2026-01-{1 + hour // 24:02}T{hour % 24:02}:00:00Z"
    return {"at": at, "labels": labels, "difference": difference, "low": low, "high": high, "losses": losses}


def test_evidence_is_drawn_from_the_first_label_on() -> None:
    curve = [evaluation(0, 0, None), evaluation(1, 50, -0.01), evaluation(2, 150, -0.02)]
    found = build_evidence({"curve": curve})
    (difference,) = found["difference"]
    assert [point.value for point in difference.points] == [None, -1.0, -2.0]
    assert (difference.points[1].low, difference.points[2].high) == (None, pytest.approx(3.0))
    champion, challenger = found["losses"]
    assert (champion.name, challenger.name) == ("champion", "challenger")
    assert [point.value for point in challenger.points] == [None, 0.2, 0.2]
    assert [point.low for point in champion.points] == [None, None, 0.15]
    nothing: dict[str, Any] = {"losses": [], "difference": []}
    assert build_evidence({"curve": curve[:1]}) == nothing
    assert build_evidence(None) == nothing


def test_evidence_of_older_releases_has_no_losses() -> None:
    older = {"at": "2026-01-01T01:00:00Z", "labels": 150, "difference": -0.02, "low": -0.1, "high": 0.05}
    found = build_evidence({"curve": [older]})
    assert found["losses"] == []
    assert len(found["difference"]) == 1


@pytest.mark.parametrize("count", [1, 60, 61, 500])
def test_long_rollouts_are_thinned_to_the_newest_evaluation(count: int) -> None:
    curve = [evaluation(hour, 200 + hour, 0.01) for hour in range(count)]
    (line,) = build_evidence({"curve": curve})["difference"]
    assert min(count, 30) <= len(line.points) <= MAX_EVALUATIONS
    assert line.points[-1].name == curve[-1]["at"][:16].replace("T", " ")


def test_an_evaluation_is_the_same_bytes_and_reads_back() -> None:
    """Rounded, without NaN, in the order of the importances."""
    evaluation = VersionEvaluation(
        "roc_auc",
        [SliceValue("a", 3, 0.812345678, float("nan"), 0.9)],
        [CalibrationBin(0.1, 0.2, 5)],
        Confusion(0.3, 1, 2, 3, 4),
        {"z": 0.2, "a": 0.1},
    )
    document = read_evaluation(evaluation.to_json())
    assert document["slices"][0] == {"name": "a", "rows": 3, "value": 0.8123, "low": None, "high": 0.9, "more": {}}
    assert [one["name"] for one in document["importances"]] == ["z", "a"]
    with pytest.raises(ValueError, match="format 1"):
        read_evaluation(b'{"format": 2}')
