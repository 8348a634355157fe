"""Where an accident happened, as numbers: coordinates, diagonals, how many accidents happen around, the commune's size.

What is learnt from training rows are places and counts of accidents, never how badly people were hurt there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

PLACE_FEATURES: Final[tuple[str, ...]] = (
    "lat", "long", "department", "commune_accidents", "to_northeast", "to_northwest",
    "accidents_here", "accidents_near", "accidents_around",
)  # fmt: skip
COORDINATES: Final = ("lat", "long")
# Those that count training accidents.
COUNTS: Final = ("commune_accidents", "accidents_here", "accidents_near", "accidents_around")

# Side of a cell in degrees: 280 m from south to north, about 200 m from west to east in France.
CELL: Final = 0.0025
# How many cells a square has on a side; accidents are counted in three by three squares around a place.
SQUARES: Final = (1, 4, 20)
_SIDES: Final = np.array(SQUARES)[:, None, None]
# Keys are (size, row, column) as one number: more columns than the globe has cells, and a margin for its neighbours.
_WIDTH: Final = 2**18
_LEVEL: Final = _WIDTH * np.arange(len(SQUARES))[:, None] * _WIDTH
# Added to coordinates, so that rows and columns are never below 1, and the largest that coordinates can be.
_ORIGIN: Final = np.array([[90.0], [180.0]]) + max(SQUARES) * CELL
_FARTHEST: Final = np.array([[90.0], [180.0]])
# A degree of longitude is this much of a degree of latitude in the middle of France.
_DEGREE_EAST: Final = 0.7
_CORSICA: Final = {"2A": 20.0, "2B": 20.5}


@dataclass(frozen=True)
class Places:
    """What the training rows say of places.

    Args:
        communes: INSEE code → (accidents in the training rows, latitude, longitude).
        departments: department → (latitude, longitude) of its accidents' centre.
        cells: cell of `CELL` degrees (its key as text) → accidents in the training rows.
        accidents: in all training rows; counts become features per 100,000 of these.
    """

    communes: Mapping[str, tuple[int, float, float]] = field(default_factory=dict)
    departments: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    cells: Mapping[str, int] = field(default_factory=dict)
    accidents: int = 0

    @classmethod
    def learn(cls, accidents: Mapping[str, NDArray[Any]]) -> Places:
        """From one row per training accident; columns that are absent are unknown."""
        rows = len(next(iter(accidents.values()))) if accidents else 0
        lat, long = (accidents.get(name, np.full(rows, np.nan)) for name in COORDINATES)
        departments = {name: (at, on) for name, (_, at, on) in _centres(accidents.get("dep"), lat, long).items()}
        at, known = _cells(lat, long)
        keys, counts = np.unique(_keys(at[:, known]), return_counts=True)
        cells = {str(key): count for key, count in zip(keys.tolist(), counts.tolist(), strict=True)}
        return cls(_centres(accidents.get("com"), lat, long), departments, cells, rows)

    @classmethod
    def from_document(cls, raw: Mapping[str, Any]) -> Places:
        """Out of JSON."""
        return cls(
            {code: tuple(place) for code, place in raw["communes"].items()},
            {code: tuple(place) for code, place in raw["departments"].items()},
            raw.get("cells", {}),  # not there in bundles of older code, whose models do not ask for them
            raw["accidents"],
        )

    def features(self, columns: Mapping[str, NDArray[Any]], n: int, seen: bool) -> NDArray[np.float32]:
        """`PLACE_FEATURES` of every row, shape (9, n); NaN = unknown.

        Unknown coordinates fall back to the commune's centre, then to the department's; what happens around is then
        unknown all the same. `seen`: rows are those learnt from, and no count holds the row's own accident.
        """
        out = np.full((len(PLACE_FEATURES), n), np.nan, dtype=np.float32)
        if all(name in columns for name in COORDINATES):
            out[6:] = self._around(columns["lat"], columns["long"], seen)
        for row, name in enumerate(COORDINATES):
            if name in columns:
                out[row] = columns[name]
        com, dep = columns.get("com"), columns.get("dep")
        nowhere = (0.0, np.nan, np.nan)
        if com is not None:
            places = [self.communes.get(code, nowhere) if code else (np.nan, np.nan, np.nan) for code in com.tolist()]
            learnt = np.array(places, dtype=np.float32).T if n else np.empty((3, 0), dtype=np.float32)
            # Counts first, so that a commune of n accidents has one and the same size, seen or not.
            out[3] = np.maximum(learnt[0] - np.float32(seen), 0) * self._scale
            out[:2] = np.where(np.isnan(out[:2]), learnt[1:], out[:2])
        if dep is not None:
            codes = dep.tolist()
            out[2] = [department_number(code) for code in codes]
            if np.isnan(out[:2]).any():
                centres = np.array([self.departments.get(code, nowhere[1:]) for code in codes], dtype=np.float32).T
                out[:2] = np.where(np.isnan(out[:2]), centres, out[:2])
        # Trees cut along axes; the country's roads and regions do not lie along them.
        east = np.float32(_DEGREE_EAST) * out[1]
        out[4], out[5] = out[0] + east, out[0] - east
        return out

    def _around(self, lat: NDArray[np.floating], long: NDArray[np.floating], seen: bool) -> NDArray[np.float32]:
        """Accidents in three by three squares around every place, per 100,000, by `SQUARES`; shape (3, n)."""
        cells, known = _cells(lat, long)
        keys, counts = self._neighbourhoods
        wanted = _keys(cells // _SIDES) + _LEVEL
        found = np.searchsorted(keys, wanted)
        number = counts[found] * (keys[found] == wanted)
        if seen:
            number = np.maximum(number - 1, 0)
        return np.where(known, number * self._scale, np.float32(np.nan))

    @cached_property
    def _scale(self) -> np.float32:
        return np.float32(1e5 / max(self.accidents, 1))

    @cached_property
    def _neighbourhoods(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Sorted keys of squares of all sizes, and accidents in the three by three squares around each."""
        keys = np.array([int(key) for key in self.cells], dtype=np.int64)
        amount = np.array(list(self.cells.values()), dtype=np.int64)
        squares = np.stack(np.divmod(keys, _WIDTH)) // _SIDES
        steps = [np.array([[down], [right]]) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        around = np.concatenate([_keys(squares + step) + _LEVEL for step in steps], axis=1)
        found, place = np.unique(around, return_inverse=True)
        counts = np.bincount(place.ravel(), weights=np.tile(amount, len(steps) * len(SQUARES)), minlength=len(found))
        # An end mark, which no place has: what is beyond the last key is found here.
        return np.append(found, np.iinfo(np.int64).max), np.append(counts, 0).astype(np.float32)


def department_number(code: str | None) -> float:
    """Department as a number: "01" → 1, "2A" → 20, "2B" → 20.5, "974" → 974, anything else unknown (NaN)."""
    if not code:
        return np.nan
    return float(code) if code.isdecimal() else _CORSICA.get(code, np.nan)


def _cells(lat: NDArray[np.floating], long: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Row and column of the cell of every place, shape (2, n), and whether it is a place on the globe, shape (n,)."""
    at = np.stack([lat, long])
    known: NDArray[np.bool_] = np.all(np.abs(at) <= _FARTHEST, axis=0)
    return ((np.where(known, at, 0.0) + _ORIGIN) // CELL).astype(np.int64), known


def _keys(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """(…, 2, n) → (…, n)."""
    return cells[..., 0, :] * _WIDTH + cells[..., 1, :]


def _centres(
    codes: NDArray[Any] | None, lat: NDArray[np.floating], long: NDArray[np.floating]
) -> dict[str, tuple[int, float, float]]:
    """Code → (accidents, median latitude, median longitude), sorted by code; unknown codes are left out."""
    if codes is None:
        return {}
    names, inverse = np.unique(np.array([code or "" for code in codes.tolist()], dtype=str), return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(inverse, minlength=len(names)))[:-1])
    found = {}
    for name, rows in zip(names.tolist(), groups, strict=True):
        known = rows[np.isfinite(lat[rows]) & np.isfinite(long[rows])]
        if name and len(known):
            at, on = float(np.median(lat[known])), float(np.median(long[known]))
            found[name] = (len(rows), round(at, 4), round(on, 4))
    return found
