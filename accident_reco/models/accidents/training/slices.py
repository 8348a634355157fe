"""Parts of the holdout that a model must not fail: who, in what, where, in which light. No scoring here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.context import KINDS, kind_of_catv

_NAMES: Final[dict[str, dict[int, str]]] = {
    "catu": {1: "driver", 2: "passenger", 3: "pedestrian"},
    "sexe": {1: "male", 2: "female", -1: "unknown"},
    "agg": {1: "outside towns", 2: "in towns"},
    "lum": {1: "daylight", 2: "dusk or dawn", 3: "night, unlit", 4: "night, lights off", 5: "night, lit"},
    "catr": {1: "motorway", 2: "national road", 3: "departmental road", 4: "communal road", 7: "metropolitan road"},
}
_AGES: Final = (0, 15, 25, 45, 65, 75, 200)
LARGEST_DEPARTMENTS: Final = 12


def slices(columns: Mapping[str, NDArray[Any]], fewest: int = 200) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """(dimension, part, mask) for every part with at least `fewest` people."""
    for dimension, part, mask in _all_slices(columns):
        if int(mask.sum()) >= fewest:
            yield dimension, part, mask


def _all_slices(columns: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    for column, names in _NAMES.items():
        for code, words in names.items():
            yield column, words, columns[column] == code
    kind = kind_of_catv(columns["catv"])
    for position, words in enumerate(KINDS):
        yield "vehicle", words, (kind == position) & (columns["catu"] != 3)
    age = np.where(columns["an_nais"] > 0, columns["an"].astype(np.int64) - columns["an_nais"], -1)
    for low, high in pairwise(_AGES):
        yield "age", f"{low}-{high - 1}" if high < 200 else f"{low}+", (age >= low) & (age < high)
    yield "age", "unknown", age < 0
    departments, count = np.unique([code or "" for code in columns["dep"].tolist()], return_counts=True)
    for code in departments[np.argsort(-count, kind="stable")][:LARGEST_DEPARTMENTS]:
        yield "dep", str(code), columns["dep"] == code
    months = months_of(columns)
    for month in np.unique(months):
        yield "month", month_name(month), months == month


def months_of(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Month of every row as a number, 202409."""
    return columns["an"].astype(np.int64) * 100 + columns["mois"]


def month_name(month: int) -> str:
    """202409 → 2024-09."""
    return f"{month // 100}-{month % 100:02d}"
