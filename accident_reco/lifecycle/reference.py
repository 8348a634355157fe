"""The reference profile: distributions of the data that a version was trained on, small enough for its bundle.

Each training stores one in the bundle as `reference.json`; drift checks compare a window with it. It holds counts, no
rows. Plain numpy; no storage, no verdicts (those are in `accident_reco.drift`).

Format (JSON, sorted keys, the same bytes for the same data):

    {"format": 1, "model": "<name>", "data_source": "official", "rows": 93686, "groups": 40748,
     "columns": {
       "hrmn": {"kind": "numeric", "count": 93686, "missing": 3, "effective_rows": 40748.0, "mean": …, "std": …,
                "grid": [v0 < v1 < …], "at_or_below": [rows with x <= v], "at": [rows with x == v]},
       "catu": {"kind": "categorical", "count": 93686, "missing": 0, "effective_rows": 78000.5,
                "values": [1, 2, 3], "counts": [70001, 15203, 8482], "other": 0}},
     "score": <a numeric column: the version's own scores> | null,
     "label": <a column: the target> | null}

- `count` includes `missing`. Missing values are -1 in integer arrays, NaN in float arrays, None or "" in text arrays.
- `grid` holds at most `GRID_POINTS` sample quantiles (every distinct value where there are fewer). The counts are exact
  at the grid's values, left and right limit, so a Kolmogorov-Smirnov distance taken there is never larger than the true
  one and loses less than 1/GRID_POINTS: a coarse grid costs a little power, and no false alarm.
- `values` are integers or texts, the `MAX_CATEGORIES` most frequent only; the rest of the known rows are `other`.
- `effective_rows`: rows of one group are dependent; this is the number of independent rows with the same variance of
  the column's known values. Equal to `count - missing` without groups.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from accident_reco.lifecycle.columns import (
    Groups,
    Probe,
    categorical_design_effect,
    categories,
    category_counts,
    code_rows,
    numeric,
    numeric_design_effect,
)

FORMAT = 1
GRID_POINTS = 512
MAX_CATEGORIES = 256

Kind = Literal["numeric", "categorical"]


class ProfileError(ValueError):
    """A reference profile that cannot be built or read; the message names the column and the rule."""


@dataclass(frozen=True, slots=True)
class NumericColumn:
    """Counts of a numeric column at the values of its grid; `count` includes `missing`."""

    count: int
    missing: int
    effective_rows: float
    mean: float
    std: float
    grid: np.ndarray
    at_or_below: np.ndarray
    at: np.ndarray
    kind: Literal["numeric"] = "numeric"


@dataclass(frozen=True, slots=True)
class CategoricalColumn:
    """Counts of a categorical column by value (all integers or all texts); `count` includes `missing` and `other`."""

    count: int
    missing: int
    effective_rows: float
    values: tuple[Any, ...]
    counts: np.ndarray
    other: int
    kind: Literal["categorical"] = "categorical"


Column = NumericColumn | CategoricalColumn


@dataclass(frozen=True, slots=True)
class ReferenceProfile:
    """A read `reference.json`."""

    model: str
    data_source: str
    rows: int
    groups: int | None
    columns: dict[str, Column]
    score: NumericColumn | None
    label: Column | None


def build_reference(
    columns: Mapping[str, np.ndarray],
    kinds: Mapping[str, Kind],
    groups: np.ndarray | None = None,
    score: np.ndarray | None = None,
    label: np.ndarray | None = None,
    *,
    model: str = "",
    data_source: str = "",
    label_kind: Kind = "categorical",
) -> dict[str, Any]:
    """Profile the training rows: one entry per name in `kinds`; arrays are 1-d and of one length.

    `groups` holds the group key of each row. `score` (the version's own) and `label` (the target) are of the
    same rows or, with another length, of other rows, taken as independent.

    Raises:
        ProfileError: a column is missing, lengths differ, or there are no rows.
    """
    missing = sorted(set(kinds) - set(columns))
    if missing:
        raise ProfileError(f"no array for the columns {missing}")
    lengths = {name: len(columns[name]) for name in kinds}
    if len(set(lengths.values())) != 1:
        raise ProfileError(f"the arrays must have one length, got {lengths}")
    rows = next(iter(lengths.values()))
    if rows == 0:
        raise ProfileError("a reference needs at least one row")
    if groups is not None and len(groups) != rows:
        raise ProfileError(f"{len(groups)} group keys for {rows} rows")
    grouped = Groups.from_keys(groups)
    probe = None if grouped is None else grouped.probe()

    def probed(values: np.ndarray) -> Probe | None:
        return probe if len(values) == rows else None

    return {
        "format": FORMAT,
        "model": model,
        "data_source": data_source,
        "rows": rows,
        "groups": None if grouped is None else grouped.number,
        "columns": {name: _profile(np.asarray(columns[name]), kinds[name], probe) for name in sorted(kinds)},
        "score": None if score is None else _profile(np.asarray(score), "numeric", probed(score)),
        "label": None if label is None else _profile(np.asarray(label), label_kind, probed(label)),
    }


def reference_bytes(reference: Mapping[str, Any]) -> bytes:
    """The file `reference.json`: the same bytes for the same profile."""
    return json.dumps(reference, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def read_reference(content: bytes | Mapping[str, Any]) -> ReferenceProfile:
    """Parse the result of `build_reference`. Raises ProfileError for anything else."""
    try:
        raw = json.loads(content) if isinstance(content, bytes) else content
        if raw["format"] != FORMAT:
            raise ProfileError(f"reference.json has format {raw['format']!r}; this code reads format {FORMAT}")
        score = None if raw["score"] is None else _column(raw["score"])
        if score is not None and not isinstance(score, NumericColumn):
            raise ProfileError("reference.json: score must be a numeric column")
        return ReferenceProfile(
            model=raw["model"],
            data_source=raw["data_source"],
            rows=raw["rows"],
            groups=raw["groups"],
            columns={name: _column(column) for name, column in raw["columns"].items()},
            score=score,
            label=None if raw["label"] is None else _column(raw["label"]),
        )
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"reference.json is not a reference profile: {error!r}") from error


def _column(raw: Mapping[str, Any]) -> Column:
    count, missing, effective = int(raw["count"]), int(raw["missing"]), float(raw["effective_rows"])
    if raw["kind"] == "numeric":
        return NumericColumn(
            count,
            missing,
            effective,
            float(raw["mean"]),
            float(raw["std"]),
            np.asarray(raw["grid"], dtype=np.float64),
            np.asarray(raw["at_or_below"], dtype=np.int64),
            np.asarray(raw["at"], dtype=np.int64),
        )
    return CategoricalColumn(
        count, missing, effective, tuple(raw["values"]), np.asarray(raw["counts"], dtype=np.int64), int(raw["other"])
    )


def _profile(values: np.ndarray, kind: Kind, probe: Probe | None) -> dict[str, Any]:
    if values.ndim != 1:
        raise ProfileError(f"a column must be one-dimensional, got the shape {values.shape}")
    if kind == "numeric":
        return _numeric_profile(numeric(values), probe)
    if kind == "categorical":
        return _categorical_profile(categories(values), probe)
    raise ProfileError(f"kind must be 'numeric' or 'categorical', got {kind!r}")


def _numeric_profile(values: np.ndarray, probe: Probe | None) -> dict[str, Any]:
    ordered = np.sort(values[~np.isnan(values)])
    missing = len(values) - len(ordered)
    grid = _grid(ordered)
    at_or_below = np.searchsorted(ordered, grid, side="right")
    at = at_or_below - np.searchsorted(ordered, grid, side="left")
    effect = numeric_design_effect(values, grid, probe)
    return {
        "kind": "numeric",
        "count": len(values),
        "missing": missing,
        "effective_rows": _rounded(len(ordered) / effect),
        "mean": _rounded(ordered.mean()) if len(ordered) else 0.0,
        "std": _rounded(ordered.std()) if len(ordered) else 0.0,
        "grid": grid.tolist(),
        "at_or_below": at_or_below.tolist(),
        "at": at.tolist(),
    }


def _grid(ordered: np.ndarray) -> np.ndarray:
    """Quantiles of sorted values, both ends included; every distinct value where these are fewer."""
    if len(ordered) == 0:
        return ordered
    distinct = ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))]
    if len(distinct) <= GRID_POINTS:
        return distinct
    places = np.linspace(0, len(ordered) - 1, GRID_POINTS).round().astype(np.int64)
    # Seven digits keep the file small; the counts are taken at the rounded values, so they stay exact.
    rounded = [float(f"{value:.7g}") for value in ordered[places].tolist()]
    return np.unique(np.array(rounded, dtype=np.float64))


def _categorical_profile(values: np.ndarray, probe: Probe | None) -> dict[str, Any]:
    counts, missing = category_counts(values)
    # Ties in frequency are broken by the value, so that the bytes do not depend on the order of rows.
    frequent = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))[:MAX_CATEGORIES]
    kept = tuple(sorted(value for value, _ in frequent))
    effect = categorical_design_effect(code_rows(values, kept), len(kept) + 1, probe)
    return {
        "kind": "categorical",
        "count": len(values),
        "missing": missing,
        "effective_rows": _rounded((len(values) - missing) / effect),
        "values": list(kept),
        "counts": [counts[value] for value in kept],
        "other": len(values) - missing - sum(counts[value] for value in kept),
    }


def _rounded(value: float) -> float:
    return float(f"{float(value):.9g}")
