"""Metrics of a training as it went: by boosting round, epoch, fold or trial, and of the process that ran it.

Holds the types, and how histories of several candidates become those of one run. The sampler of the process is in
`process_sampler`, logging in `tracking`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

Point = tuple[int, float, int]
"""Step (the first is 1), value, and time in milliseconds since 1970."""
History = Mapping[str, Sequence[Point]]
"""Metric → its values by step."""
EvaluationTable = Mapping[str, Sequence[Any]]
"""Column → its values, all of the same length."""

SYSTEM: Final = "system/"
"""MLflow shows metrics with this prefix as system metrics."""


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def number_steps(values: Iterable[float]) -> list[Point]:
    """Points of values in the order of their steps, all of this moment; a step without a finite value has no point."""
    when = now()
    return [(step, float(value), when) for step, value in enumerate(values, 1) if math.isfinite(value)]


def merge_histories(histories: Mapping[str, History]) -> dict[str, list[Point]]:
    """Histories by kind of candidate as one: `<kind>/<metric>`, which MLflow shows as a section of charts per kind."""
    merged: dict[str, list[Point]] = {}
    for kind, history in histories.items():
        for name, points in history.items():
            is_system = name.startswith(SYSTEM)
            shown = f"{SYSTEM}{kind}/{name.removeprefix(SYSTEM)}" if is_system else f"{kind}/{name}"
            merged[shown] = [(int(step), float(value), int(when)) for step, value, when in points]
    return merged
