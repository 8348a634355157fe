"""Charts as SVG: well-formed whatever the values, every text escaped, nothing inline that the policy forbids."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from serving.console import charts
from serving.console.charts import Line, Point

NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=32)
NAMES = st.text(max_size=20).filter(lambda text: all(ord(c) >= 32 for c in text))


def parse(markup: Markup) -> ET.Element:
    return ET.fromstring(str(markup))


def texts(chart: ET.Element) -> list[str]:
    return ["".join(each.itertext()) for each in chart.iter() if each.tag.endswith("text")]


@given(st.lists(st.tuples(NAMES, st.none() | NUMBERS, st.none() | NUMBERS), max_size=8), st.none() | NUMBERS)
def test_lines_are_well_formed(rows: Sequence[tuple[str, Any, Any]], threshold: float | None) -> None:
    """Gaps, NaN, infinities, markup in names, one point, none at all: SVG or nothing."""
    points = [Point(name, value, bound, bound) for name, value, bound in rows]
    threshold = threshold if threshold is not None and math.isfinite(threshold) else None
    drawn = charts.lines("A & <b>", [Line("<i>", points)], threshold=threshold)
    if not drawn:
        assert not any(v is not None and math.isfinite(v) for _, value, bound in rows for v in (value, bound))
        return
    chart = parse(drawn)
    assert chart.attrib["aria-label"] == "A & <b>"
    for element in chart.iter():
        assert "style" not in element.attrib
        numbers = [value for name, value in element.attrib.items() if name not in ("aria-label", "class", "role")]
        assert not any("nan" in value or "inf" in value for value in numbers)


def test_the_champion_is_marked_and_intervals_are_drawn() -> None:
    """A version with its interval: circle, bar and the numbers as a title."""
    line = Line("roc_auc", [Point("old", 0.8), Point("new", 0.85, 0.84, 0.86, is_marked=True)])
    chart = parse(charts.lines("roc_auc over versions", [line]))
    marked = [e for e in chart.iter() if "marked" in e.attrib.get("class", "")]
    assert ["".join(e.itertext()) for e in marked] == ["roc_auc new: 0.85 (0.84 to 0.86)"]
    assert sum("interval" in e.attrib.get("class", "") for e in chart.iter()) == 1
    assert texts(chart)[-2:] == ["old", "new"]


def test_a_gap_breaks_the_line() -> None:
    """A missing value is no zero: the path starts again after it, and a value between gaps has a circle."""
    values = [1.0, 2.0, None, 3.0, None, *[1.0] * 40]
    chart = parse(charts.lines("x", [Line("x", [Point(str(i), v) for i, v in enumerate(values)])]))
    (path,) = [e.attrib["d"] for e in chart.iter() if e.tag.endswith("path")]
    assert path.count("M") == 3
    assert sum(e.tag.endswith("circle") for e in chart.iter()) == 1


def test_bars_have_names_and_values_and_share_a_zero() -> None:
    """Positive bars begin where negative ones end."""
    chart = parse(charts.bars("effects", ["up", "down"], [2.0, -1.0], digits=1))
    up, down = [e for e in chart.iter() if e.tag.endswith("rect")]
    assert float(up.attrib["x"]) == pytest.approx(float(down.attrib["x"]) + float(down.attrib["width"]), abs=0.2)
    assert float(up.attrib["width"]) == pytest.approx(2 * float(down.attrib["width"]), abs=0.3)
    assert texts(chart) == ["up", "2.0", "down", "-1.0"]


def test_small_charts() -> None:
    """One element per count, cell and interval; nothing where there is nothing."""
    chart = parse(charts.histogram("h", [0, 0.5, 1], [3, 1]))
    heights = [float(e.attrib["height"]) for e in chart.iter() if e.tag.endswith("rect")]
    assert heights[0] == pytest.approx(3 * heights[1], rel=0.02)
    assert sum(e.tag.endswith("rect") for e in parse(charts.timeline("t", ["a", "b"], ["good", "bad"])).iter()) == 2
    assert parse(charts.sparkline("s", [1, None, 2])).attrib["class"] == "spark"
    assert "threshold 0" in texts(parse(charts.interval("i", -0.1, 0.1, 0.3)))
    empty = (charts.bars("b", [], []), charts.histogram("h", [0, 1], [0]), charts.timeline("t", [], []))
    assert set(empty) | {charts.sparkline("s", [None])} == {Markup("")}
