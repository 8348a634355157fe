"""Parts of charts: scales, axes, paths, the element itself. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

WIDTH: Final = 420.0
LEFT: Final = 46.0
BOTTOM: Final = 22.0
TOP: Final = 8.0
RIGHT: Final = 10.0


@dataclass(frozen=True)
class Scale:
    """Maps `low` to `start` and `high` to `stop`, linearly."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)


def build_svg(title: str, width: float, height: float, parts: Sequence[Markup], kind: str) -> Markup:
    """The element; `kind` is its class."""
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        kind, num(width), num(height), title, Markup("").join(parts)
    )


def build_path(points: Sequence[tuple[float, float | None]]) -> str:
    """Path through points; it breaks off where a value is missing."""
    text, pen = [], "M"
    for at, value in points:
        if value is None or not math.isfinite(value):
            pen = "M"
            continue
        text.append(f"{pen}{num(at)} {num(value)}")
        pen = "L"
    return "".join(text)


def draw_axis(y: Scale) -> Markup:
    """Horizontal grid lines with their numbers."""
    parts = []
    for value in find_ticks(y.low, y.high):
        at = num(y(value))
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}" text-anchor="end">{}</text>'
            ).format(num(LEFT), num(WIDTH - RIGHT), at, at, num(LEFT - 6), num(y(value) + 4), format_label(value))
        )
    return Markup("").join(parts)


def draw_names(names: Sequence[str], x: Scale, height: float) -> Markup:
    """Names of the first and the last point."""
    if not names:
        return Markup("")
    shown = {0: "start", len(names) - 1: "end"} if len(names) > 1 else {0: "middle"}
    return Markup("").join(
        Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(num(x(i)), num(height - 6), anchor, names[i])
        for i, anchor in shown.items()
    )


def find_span(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis that shows all values, with a margin except at 0."""
    low, high = min(values), max(values)
    if high - low < 1e-12:
        margin = abs(high) * 0.1
        return (low - margin, high + margin) if margin else (0.0, 1.0)
    margin = (high - low) * 0.06
    return (low if low == 0 else low - margin), high + margin


def find_ticks(low: float, high: float) -> list[float]:
    """Two to five round numbers between the ends of an axis."""
    step = 10 ** math.floor(math.log10((high - low) / 2))
    for factor in (5, 2, 1):
        if (high - low) / (step * factor) >= 2:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def format_label(value: float) -> str:
    """A number on an axis."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if letter == 'k' else limit):.4g}{letter}"
    return f"{value:.4g}"


def shorten(text: str, length: int) -> Markup:
    """At most `length` characters of a text."""
    return escape(text if len(text) <= length else text[: length - 1] + "…")


def num(value: float) -> str:
    """A coordinate."""
    return f"{value:.1f}".removesuffix(".0")
