"""Charts as SVG, drawn on the server: no script, no inline style; colours come from the stylesheet. Pure.

Every chart has a name for screen readers. Colours are classes (`tone-1` to `tone-4`, `good`, `bad`), so that both
appearances have their own. A page that shows numbers which matter shows them as text or in a table too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from markupsafe import Markup

from serving.console.svg import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    build_path,
    build_svg,
    draw_axis,
    draw_names,
    find_span,
    format_label,
    num,
    shorten,
)

MAX_MARKED: Final = 30
"""A line of more points has no circles on them."""


@dataclass(frozen=True)
class Point:
    """A point of a line: its name, its value, its interval where one is known, whether it is marked.

    None, NaN and infinite values are gaps.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    is_marked: bool = False

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                object.__setattr__(self, name, None)


@dataclass(frozen=True)
class Line:
    """A named line; `tone` is a class of the stylesheet."""

    name: str
    points: Sequence[Point]
    tone: str = "tone-1"


def lines(
    title: str,
    series: Sequence[Line],
    *,
    height: float = 180,
    threshold: float | None = None,
    start_at_zero: bool = False,
    unit: str = "",
) -> Markup:
    """Lines over a common axis of equally distant points, intervals as bars, gaps where a value is missing.

    Args:
        title: what the chart shows, for everyone who does not see it.
        threshold: drawn as a dashed line.
        unit: after the numbers in the names of points, such as ` %`.
    """
    values = [
        value
        for line in series
        for point in line.points
        for value in (point.value, point.low, point.high)
        if value is not None
    ]
    if not values:
        return Markup("")
    low, high = find_span([*values, *([] if threshold is None else [threshold]), *([0.0] if start_at_zero else [])])
    y = Scale(low, high, height - BOTTOM, TOP)
    count = max(len(line.points) for line in series)
    # A single point is in the middle.
    x = Scale(0, count - 1, LEFT + 6, WIDTH - RIGHT) if count > 1 else Scale(-1, 1, LEFT, WIDTH - RIGHT)
    parts = [draw_axis(y)]
    if threshold is not None:
        parts.append(
            Markup('<line class="threshold" x1="{}" x2="{}" y1="{}" y2="{}"><title>{}</title></line>').format(
                num(LEFT),
                num(WIDTH - RIGHT),
                num(y(threshold)),
                num(y(threshold)),
                f"threshold {format_label(threshold)}{unit}",
            )
        )
    parts.extend(_draw_line(line, x, y, unit) for line in series)
    names = [point.name for point in series[0].points]
    parts.append(draw_names(names, x, height))
    return build_svg(title, WIDTH, height, parts, "chart")


def bars(
    title: str,
    names: Sequence[str],
    values: Sequence[float],
    *,
    tones: Sequence[str] = (),
    unit: str = "",
    digits: int = 3,
) -> Markup:
    """Horizontal bars with name and value as text; negative ones to the left of a common line."""
    if not values:
        return Markup("")
    row, middle, end = 24.0, 160.0, 52.0
    low, high = min(0.0, *values), max(0.0, *values)
    x = Scale(low, high if high > low else low + 1, middle, WIDTH - end)
    parts = []
    for index, (name, value) in enumerate(zip(names, values, strict=True)):
        top = index * row
        tone = tones[index] if tones else "tone-1"
        start, stop = sorted((x(0), x(value)))
        parts.append(
            Markup(
                '<text class="name" x="{}" y="{}" text-anchor="end">{}</text>'
                '<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="2"/>'
                '<text x="{}" y="{}" text-anchor="{}">{}</text>'
            ).format(
                num(middle - 8 if low >= 0 else x(low) - 8),
                num(top + 17),
                shorten(name, 24),
                tone,
                num(start),
                num(top + 5),
                num(max(stop - start, 1)),
                num(row - 9),
                num(stop + 6),
                num(top + 17),
                "start",
                f"{value:.{digits}f}{unit}",
            )
        )
    return build_svg(title, WIDTH, row * len(values), parts, "chart")


def histogram(
    title: str, edges: Sequence[float], counts: Sequence[float], *, height: float = 160, tone: str = "tone-1"
) -> Markup:
    """Counts (or shares) of adjacent intervals; `edges` has one number more than `counts`."""
    if not counts or max(counts) <= 0:
        return Markup("")
    y = Scale(0, max(counts), height - BOTTOM, TOP)
    x = Scale(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    parts = [draw_axis(y)]
    for (start, stop), count in zip(pairwise(edges), counts, strict=True):
        parts.append(
            Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
                tone,
                num(x(start) + 0.5),
                num(y(count)),
                num(max(x(stop) - x(start) - 1, 0.5)),
                num(y(0) - y(count)),
                f"{format_label(start)} to {format_label(stop)}: {format_label(count)}",
            )
        )
    for value, anchor in ((edges[0], "start"), (edges[len(edges) // 2], "middle"), (edges[-1], "end")):
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
                num(x(value)), num(height - 6), anchor, format_label(value)
            )
        )
    return build_svg(title, WIDTH, height, parts, "chart")


def sparkline(
    title: str, values: Sequence[float | None], *, width: float = 160, height: float = 36, tone: str = "tone-1"
) -> Markup:
    """A line without axes, of small numbers in a table."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return Markup("")
    y = Scale(*find_span([0.0, *known]), height - 2, 2)
    x = Scale(0, max(len(values) - 1, 1), 1, width - 1)
    path = build_path([(x(i), None if v is None or not math.isfinite(v) else y(v)) for i, v in enumerate(values)])
    return build_svg(title, width, height, [Markup('<path class="line {}" d="{}"/>').format(tone, path)], "spark")


def interval(
    title: str, low: float, value: float, high: float, *, threshold: float = 0.0, tone: str = "tone-1"
) -> Markup:
    """A value with its interval against a threshold, on one line."""
    height = 44.0
    x = Scale(*find_span([low, high, value, threshold]), 14, WIDTH - 14)
    parts = [
        Markup('<line class="threshold" x1="{0}" x2="{0}" y1="2" y2="26"/>').format(num(x(threshold))),
        Markup('<line class="interval {}" x1="{}" x2="{}" y1="14" y2="14"/>').format(tone, num(x(low)), num(x(high))),
        Markup('<circle class="{}" cx="{}" cy="14" r="5"/>').format(tone, num(x(value))),
        Markup('<text x="{}" y="40" text-anchor="middle">{}</text>').format(
            num(min(max(x(threshold), 60), WIDTH - 60)), f"threshold {format_label(threshold)}"
        ),
    ]
    return build_svg(title, WIDTH, height, parts, "chart")


def timeline(title: str, names: Sequence[str], tones: Sequence[str]) -> Markup:
    """Equal cells in order of time, oldest first, each with a tone (`good`, `warn`, `bad`, `none`) and a name."""
    if not names:
        return Markup("")
    width, height = WIDTH / len(names), 28.0
    parts = [
        Markup('<rect class="{}" x="{}" y="2" width="{}" height="{}" rx="2"><title>{}</title></rect>').format(
            tone, num(index * width + 0.5), num(max(width - 1, 1)), num(height - 4), name
        )
        for index, (name, tone) in enumerate(zip(names, tones, strict=True))
    ]
    return build_svg(title, WIDTH, height, parts, "chart")


def _draw_line(line: Line, x: Scale, y: Scale, unit: str) -> Markup:
    found = [(x(index), point) for index, point in enumerate(line.points)]
    parts = [
        Markup('<path class="line {}" d="{}"/>').format(
            line.tone, build_path([(at, None if point.value is None else y(point.value)) for at, point in found])
        )
    ]
    for index, (at, point) in enumerate(found):
        if point.value is None:
            continue
        if point.low is not None and point.high is not None:
            parts.append(
                Markup('<line class="interval {}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                    line.tone, num(at), num(at), num(y(point.low)), num(y(point.high))
                )
            )
        if len(line.points) <= MAX_MARKED or point.is_marked or _is_alone(line.points, index):
            between = (
                ""
                if point.low is None or point.high is None
                else f" ({format_label(point.low)} to {format_label(point.high)})"
            )
            parts.append(
                Markup('<circle class="{}{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
                    line.tone,
                    " marked" if point.is_marked else "",
                    num(at),
                    num(y(point.value)),
                    "5" if point.is_marked else "3",
                    f"{line.name} {point.name}: {format_label(point.value)}{unit}{between}",
                )
            )
    return Markup("").join(parts)


def _is_alone(points: Sequence[Point], index: int) -> bool:
    """Whether no line leads to a point or from it."""
    beside = [points[other] for other in (index - 1, index + 1) if 0 <= other < len(points)]
    return all(point.value is None for point in beside)
