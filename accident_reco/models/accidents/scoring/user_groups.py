"""Groups of road users by role, vehicle and surroundings, from raw columns, by which advice and uncertainty differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.context import GROUP_OF_KIND, PEDESTRIAN, classify_vehicles

KINDS_OF_USER: Final = ("on foot", "moped or motorcycle", "cycle", "car or van", "other vehicle")
SURROUNDINGS: Final = ("outside towns", "in towns")
UNKNOWN: Final = -1
# By `agg`: 1 outside, 2 in towns; the last entry is for unknown, which -1 reads, and for other codes.
_SURROUNDINGS_OF_AGG: Final = np.array([UNKNOWN, 0, 1, UNKNOWN])
_MAX_CATU, _MAX_CATV = 4, 100


def _build_user_table() -> NDArray[np.int64]:
    """Kind of user by [catu][catv]; the last row and column are for unknown, which -1 reads.

    A table, because one record costs a call of numpy for every operation on its codes.
    """
    table = np.full((_MAX_CATU + 2, _MAX_CATV + 2), UNKNOWN, dtype=np.int64)
    table[1:-1, :-1] = GROUP_OF_KIND[classify_vehicles(np.arange(_MAX_CATV + 1))]
    table[PEDESTRIAN] = 0
    table.setflags(write=False)
    return table


_KIND_OF_USER: Final = _build_user_table()


def count_rows(columns: Mapping[str, NDArray[Any]]) -> int:
    """Number of rows of raw columns."""
    return len(next(iter(columns.values())))


def get_codes(columns: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.integer[Any]]:
    """A column of codes, shape (n,); -1 in every row where the column is absent."""
    if name not in columns:
        return np.full(count_rows(columns), UNKNOWN, dtype=np.int64)
    codes = columns[name]
    return codes if codes.dtype.kind == "i" else codes.astype(np.int64)


def classify_users(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Index into `KINDS_OF_USER` of every row, shape (n,); -1 where the role or the vehicle is unknown."""
    catu, catv = get_codes(columns, "catu"), get_codes(columns, "catv")
    return _KIND_OF_USER[np.minimum(catu, _MAX_CATU), np.minimum(catv, _MAX_CATV)]


def classify_surroundings(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Index into `SURROUNDINGS` of every row, shape (n,); -1 where `agg` is unknown."""
    return _SURROUNDINGS_OF_AGG[np.minimum(get_codes(columns, "agg"), 3)]
