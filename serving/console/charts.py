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

from markupsafe import Markup, escape

WIDTH: Final = 600.0
LEFT: Final = 46.0
BOTTOM: Final = 22.0
TOP: Final = 8.0
RIGHT: Final = 10.0


@dataclass(frozen=True)
class Point:
    """A point of a line: its name, its value (None: a gap), its interval where one is known, whether it is marked."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    is_marked: bool = False


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
        unit: after the numbers of the axis, such as ` %`.
    """
    values = [
        value
        for line in series
        for point in line.points
        for value in (point.value, point.low, point.high)
        if value is not None and math.isfinite(value)
    ]
    if not values:
        return Markup("")
    low, high = _span([*values, *([] if threshold is None else [threshold]), *([0.0] if start_at_zero else [])])
    y = _Scale(low, high, height - BOTTOM, TOP)
    count = max(len(line.points) for line in series)
    x = _Scale(0, max(count - 1, 1), LEFT, WIDTH - RIGHT)
    parts = [_axis(y, unit)]
    if threshold is not None:
        parts.append(
            Markup('<line class="threshold" x1="{}" x2="{}" y1="{}" y2="{}"><title>{}</title></line>').format(
                _n(LEFT), _n(WIDTH - RIGHT), _n(y(threshold)), _n(y(threshold)), f"threshold {_label(threshold)}{unit}"
            )
        )
    parts.extend(_draw_line(line, x, y, unit) for line in series)
    names = [point.name for point in series[0].points]
    parts.append(_names(names, x, height))
    return _svg(title, WIDTH, height, parts, "chart")


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
    row, middle, end = 26.0, 210.0, 70.0
    low, high = min(0.0, *values), max(0.0, *values)
    x = _Scale(low, high if high > low else low + 1, middle, WIDTH - end)
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
                _n(middle - 8 if low >= 0 else x(low) - 8),
                _n(top + 17),
                _shorten(name, 30),
                tone,
                _n(start),
                _n(top + 5),
                _n(max(stop - start, 1)),
                _n(row - 9),
                _n(stop + 6),
                _n(top + 17),
                "start",
                f"{value:.{digits}f}{unit}",
            )
        )
    return _svg(title, WIDTH, row * len(values), parts, "chart")


def histogram(
    title: str, edges: Sequence[float], counts: Sequence[float], *, height: float = 160, tone: str = "tone-1"
) -> Markup:
    """Counts (or shares) of adjacent intervals; `edges` has one number more than `counts`."""
    if not counts or max(counts) <= 0:
        return Markup("")
    y = _Scale(0, max(counts), height - BOTTOM, TOP)
    x = _Scale(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    parts = [_axis(y, "")]
    for (start, stop), count in zip(pairwise(edges), counts, strict=True):
        parts.append(
            Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
                tone,
                _n(x(start) + 0.5),
                _n(y(count)),
                _n(max(x(stop) - x(start) - 1, 0.5)),
                _n(y(0) - y(count)),
                f"{_label(start)} to {_label(stop)}: {_label(count)}",
            )
        )
    for value, anchor in ((edges[0], "start"), (edges[len(edges) // 2], "middle"), (edges[-1], "end")):
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
                _n(x(value)), _n(height - 6), anchor, _label(value)
            )
        )
    return _svg(title, WIDTH, height, parts, "chart")


def sparkline(
    title: str, values: Sequence[float | None], *, width: float = 160, height: float = 36, tone: str = "tone-1"
) -> Markup:
    """A line without axes, of small numbers in a table."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return Markup("")
    y = _Scale(*_span([0.0, *known]), height - 2, 2)
    x = _Scale(0, max(len(values) - 1, 1), 1, width - 1)
    path = _path([(x(i), None if v is None or not math.isfinite(v) else y(v)) for i, v in enumerate(values)])
    return _svg(title, width, height, [Markup('<path class="line {}" d="{}"/>').format(tone, path)], "spark")


def interval(
    title: str, low: float, value: float, high: float, *, threshold: float = 0.0, tone: str = "tone-1"
) -> Markup:
    """A value with its interval against a threshold, on one line."""
    height = 44.0
    x = _Scale(*_span([low, high, value, threshold]), 14, WIDTH - 14)
    parts = [
        Markup('<line class="threshold" x1="{0}" x2="{0}" y1="2" y2="26"/>').format(_n(x(threshold))),
        Markup('<line class="interval {}" x1="{}" x2="{}" y1="14" y2="14"/>').format(tone, _n(x(low)), _n(x(high))),
        Markup('<circle class="{}" cx="{}" cy="14" r="5"/>').format(tone, _n(x(value))),
        Markup('<text x="{}" y="40" text-anchor="middle">{}</text>').format(
            _n(min(max(x(threshold), 60), WIDTH - 60)), f"threshold {_label(threshold)}"
        ),
    ]
    return _svg(title, WIDTH, height, parts, "chart")


def timeline(title: str, names: Sequence[str], tones: Sequence[str]) -> Markup:
    """Equal cells in order of time, oldest first, each with a tone (`good`, `warn`, `bad`, `none`) and a name."""
    if not names:
        return Markup("")
    width, height = WIDTH / len(names), 28.0
    parts = [
        Markup('<rect class="{}" x="{}" y="2" width="{}" height="{}" rx="2"><title>{}</title></rect>').format(
            tone, _n(index * width + 0.5), _n(max(width - 1, 1)), _n(height - 4), name
        )
        for index, (name, tone) in enumerate(zip(names, tones, strict=True))
    ]
    return _svg(title, WIDTH, height, parts, "chart")


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)


def _svg(title: str, width: float, height: float, parts: Sequence[Markup], kind: str) -> Markup:
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        kind, _n(width), _n(height), title, Markup("").join(parts)
    )


def _draw_line(line: Line, x: _Scale, y: _Scale, unit: str) -> Markup:
    found = [(x(index), point) for index, point in enumerate(line.points)]
    parts = [
        Markup('<path class="line {}" d="{}"/>').format(
            line.tone, _path([(at, None if point.value is None else y(point.value)) for at, point in found])
        )
    ]
    for at, point in found:
        if point.value is None:
            continue
        if point.low is not None and point.high is not None:
            parts.append(
                Markup('<line class="interval {}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                    line.tone, _n(at), _n(at), _n(y(point.low)), _n(y(point.high))
                )
            )
        if len(line.points) <= 60:
            between = (
                "" if point.low is None or point.high is None else f" ({_label(point.low)} to {_label(point.high)})"
            )
            parts.append(
                Markup('<circle class="{}{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
                    line.tone,
                    " marked" if point.is_marked else "",
                    _n(at),
                    _n(y(point.value)),
                    "5" if point.is_marked else "3",
                    f"{line.name} {point.name}: {_label(point.value)}{unit}{between}",
                )
            )
    return Markup("").join(parts)


def _path(points: Sequence[tuple[float, float | None]]) -> str:
    text, pen = [], "M"
    for at, value in points:
        if value is None or not math.isfinite(value):
            pen = "M"
            continue
        text.append(f"{pen}{_n(at)} {_n(value)}")
        pen = "L"
    return "".join(text)


def _axis(y: _Scale, unit: str) -> Markup:
    parts = []
    for value in _ticks(y.low, y.high):
        at = _n(y(value))
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}" text-anchor="end">{}</text>'
            ).format(_n(LEFT), _n(WIDTH - RIGHT), at, at, _n(LEFT - 6), _n(y(value) + 4), f"{_label(value)}{unit}")
        )
    return Markup("").join(parts)


def _names(names: Sequence[str], x: _Scale, height: float) -> Markup:
    if not names:
        return Markup("")
    shown = {0: "start", len(names) - 1: "end"} if len(names) > 1 else {0: "start"}
    return Markup("").join(
        Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(_n(x(i)), _n(height - 6), anchor, names[i])
        for i, anchor in shown.items()
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high - low < 1e-12:
        margin = abs(high) * 0.1 or 1.0
        return low - margin, high + margin
    margin = (high - low) * 0.06
    return (low if low == 0 else low - margin), high + margin


def _ticks(low: float, high: float) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) / 2))
    for factor in (5, 2, 1):
        if (high - low) / (step * factor) >= 2:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _label(value: float) -> str:
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if letter == 'k' else limit):.4g}{letter}"
    return f"{value:.4g}"


def _shorten(text: str, length: int) -> Markup:
    return escape(text if len(text) <= length else text[: length - 1] + "…")


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
