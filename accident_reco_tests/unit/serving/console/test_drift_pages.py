"""Pure parts of the pages of drift, and drawings of two samples."""

from __future__ import annotations

from typing import Any

from serving.console import plots
from serving.console.pages.drift import build_feature, build_timeline, describe_window, find_changes, sort_features

FEATURE: dict[str, Any] = {
    "name": "catu",
    "title": "Kind of <user>",
    "drifted": True,
    "missing_drifted": False,
    "distance": 0.3,
    "distribution": {"values": [1, 3], "names": ["Driver", "<b>"], "reference": [0.9, 0.1], "window": [0.4, 0.6]},
}


def test_timeline_is_of_live_data_oldest_first() -> None:
    reports = [
        {"computed_at": "2026-01-03T00:00:00Z", "reason": "c", "status": "drift", "window": "log", "id": "3"},
        {
            "computed_at": "2026-01-02T00:00:00Z",
            "reason": "b",
            "status": "stable",
            "window": "partition:2023",
            "id": "2",
        },
        {"computed_at": "2026-01-01T00:00:00Z", "reason": "a", "status": "stable", "window": "now", "id": "1"},
    ]
    line = build_timeline(reports)
    assert (line["ids"], line["tones"]) == (["1", "3"], ["good", "bad"])
    assert line["names"][1] == "2026-01-03 00:00 UTC: c"


def test_what_drifted_comes_first() -> None:
    features = [
        {"name": "far", "drifted": None, "missing_drifted": False, "distance": None},
        {"name": "near", "drifted": False, "missing_drifted": False, "distance": 0.2},
        {"name": "gap", "drifted": False, "missing_drifted": True, "distance": 0.01},
        {"name": "moved", "drifted": True, "missing_drifted": False, "distance": 0.1},
    ]
    assert [one["name"] for one in sort_features(features)] == ["moved", "gap", "near", "far"]


def test_a_feature_has_its_drawing_and_changes() -> None:
    built = build_feature(FEATURE)
    assert (built["verdict"], built["tone"]) == ("drifted", "bad")
    assert built["changes"] == [("Driver", 0.9, 0.4), ("<b>", 0.1, 0.6)]
    assert "Kind of &lt;user&gt;" in built["drawing"]
    older = build_feature({**FEATURE, "distribution": None, "drifted": None})
    assert (older["drawing"], older["changes"], older["verdict"]) == ("", [], "too little data")


def test_small_changes_are_no_changes() -> None:
    assert find_changes({"values": [1, 2], "reference": [0.5, 0.5], "window": [0.505, 0.495]}) == []
    assert find_changes({"edges": [0, 1], "reference": [1], "window": [1]}) == []


def test_windows_in_words() -> None:
    assert describe_window("partition:2021") == "data of 2021"
    assert describe_window("now") == "latest data, on request"


def test_drawings_are_empty_without_data() -> None:
    assert plots.distributions("x", [], []) == ""
    assert plots.distributions("x", [0.0], [0.0]) == ""
    assert plots.calibration("x", []) == ""


def test_calibration_has_a_point_per_bin() -> None:
    bins = [{"predicted": 0.1 * place, "observed": 0.1 * place, "rows": 10} for place in range(5)]
    assert plots.calibration("<c>", bins).count("<circle") == 5
    assert "&lt;c&gt;" in plots.calibration("<c>", bins)
