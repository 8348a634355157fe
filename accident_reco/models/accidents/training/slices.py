"""Slices of the holdout by road user, vehicle, place, light and time, for evaluation and gate. Scores nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.context import classify_vehicles
from accident_reco.models.accidents.features.context_columns import KINDS

_NAMES: Final[dict[str, dict[int, str]]] = {
    "catu": {1: "driver", 2: "passenger", 3: "pedestrian"},
    "sexe": {1: "male", 2: "female", -1: "unknown"},
    "agg": {1: "outside towns", 2: "in towns"},
    "lum": {1: "daylight", 2: "dusk or dawn", 3: "night, unlit", 4: "night, lights off", 5: "night, lit"},
    "catr": {1: "motorway", 2: "national road", 3: "departmental road", 4: "communal road", 7: "metropolitan road"},
}
_AGES: Final = (0, 15, 25, 45, 65, 75, 200)
MAX_DEPARTMENTS: Final = 12


def iterate_slices(
    columns: Mapping[str, NDArray[Any]], min_rows: int = 200
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """(dimension, part, mask of shape (n,)) of every part with at least `min_rows` rows."""
    for dimension, part, mask in _iterate_all_slices(columns):
        if int(mask.sum()) >= min_rows:
            yield dimension, part, mask


def _iterate_all_slices(columns: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    for column, names in _NAMES.items():
        for code, words in names.items():
            yield column, words, columns[column] == code
    kind = classify_vehicles(columns["catv"])
    for position, words in enumerate(KINDS):
        yield "vehicle", words, (kind == position) & (columns["catu"] != 3)
    age = np.where(columns["an_nais"] > 0, columns["an"].astype(np.int64) - columns["an_nais"], -1)
    for low, high in pairwise(_AGES):
        yield "age", f"{low}-{high - 1}" if high < 200 else f"{low}+", (age >= low) & (age < high)
    yield "age", "unknown", age < 0
    departments, count = np.unique([code or "" for code in columns["dep"].tolist()], return_counts=True)
    for code in departments[np.argsort(-count, kind="stable")][:MAX_DEPARTMENTS]:
        yield "dep", str(code), columns["dep"] == code
    months = compute_months(columns)
    for month in np.unique(months):
        yield "month", format_month(month), months == month


def compute_months(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Month of every row as an integer such as 202409, shape (n,)."""
    return columns["an"].astype(np.int64) * 100 + columns["mois"]


def format_month(month: int) -> str:
    """202409 → 2024-09."""
    return f"{month // 100}-{month % 100:02d}"
