"""Windows of a drift check: rows of the prediction log, of new data or of a partition, as columns. No queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from accident_reco.lifecycle.reference import Column, ReferenceProfile


@dataclass(frozen=True)
class Labelled:
    """Scores with their outcomes, for live performance. Arrays of one length."""

    score: np.ndarray
    truth: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class Window:
    """Columns by the reference's names (1-d, one length), the group of each row, scores and labels where known."""

    name: str
    columns: Mapping[str, np.ndarray]
    groups: np.ndarray | None = None
    score: np.ndarray | None = None
    label: np.ndarray | None = None
    since: datetime | None = None
    until: datetime | None = None
    labelled: Labelled | None = None
    note: str = ""
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", max((len(values) for values in self.columns.values()), default=0))

    def first(self, rows: int) -> dict[str, np.ndarray]:
        """At most `rows` rows, spread evenly over the window."""
        if self.rows <= rows:
            return dict(self.columns)
        places = np.linspace(0, self.rows - 1, rows).astype(np.int64)
        return {name: values[places] for name, values in self.columns.items()}


@dataclass(frozen=True)
class Windows:
    """The window to check and, where it has rows, the one before it."""

    current: Window
    previous: Window | None


def parse_column(values: Sequence[Any], column: Column) -> np.ndarray:
    """JSON values as a column of the profile's type; absent, null, "" and invalid values are missing values.

    -1 is missing among codes and texts, a number among numbers: a model where it is not one translates it (`log_row`).
    """
    if column.kind == "numeric":
        return np.array([_number(value) for value in values], dtype=np.float64)
    if column.values and not isinstance(column.values[0], str):
        return np.array([_code(value) for value in values], dtype=np.int64)
    texts = np.empty(len(values), dtype=object)
    texts[:] = [None if value is None or value in ("", -1) else str(value) for value in values]
    return texts


def build_columns(inputs: Sequence[Mapping[str, Any]], reference: ReferenceProfile) -> dict[str, np.ndarray]:
    """Logged raw inputs as columns of the reference.

    Columns without any value are omitted: a field that clients do not send has not drifted.
    """
    columns = {}
    for name, column in reference.columns.items():
        values = [row.get(name) for row in inputs]
        if any(value is not None for value in values):
            columns[name] = parse_column(values, column)
    return columns


def build_log_window(
    rows: Iterable[Mapping[str, Any]],
    reference: ReferenceProfile,
    labelled: Iterable[Mapping[str, Any]] = (),
    group_of: Callable[[Mapping[str, Any]], str | None] = lambda _: None,
    name: str = "log",
) -> Window:
    """Rows of the prediction log (newest first) as a window.

    Args:
        labelled: rows with `score` and `outcome`, for live performance.
        group_of: a row → key of its group of dependent rows; None for an independent row.
    """
    kept = list(rows)
    inputs = [row["inputs"] if isinstance(row["inputs"], Mapping) else {} for row in kept]
    known = [row for row in labelled if row.get("score") is not None and row.get("outcome") is not None]
    live = None
    if known:
        live = Labelled(
            np.array([row["score"] for row in known], dtype=np.float64),
            np.array([row["outcome"] for row in known], dtype=np.float64),
            _group_keys(known, group_of),
        )
    return Window(
        name,
        build_columns(inputs, reference),
        _group_keys(kept, group_of) if kept else None,
        np.array([np.nan if row["score"] is None else row["score"] for row in kept], dtype=np.float64),
        None if live is None else _label_column(live.truth, reference.label),
        min((row["at"] for row in kept), default=None),
        max((row["at"] for row in kept), default=None),
        live,
    )


def _group_keys(rows: Sequence[Mapping[str, Any]], group_of: Callable[[Mapping[str, Any]], str | None]) -> np.ndarray:
    return np.array([group_of(row) or f"i{row['id']}" for row in rows])


def _label_column(truth: np.ndarray, label: Column | None) -> np.ndarray:
    """Outcomes as the profile keeps them: classes as codes, numbers as they are."""
    return truth.astype(np.int64) if label is not None and label.kind == "categorical" else truth


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _code(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return -1
