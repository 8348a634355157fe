"""Location features: coordinates, diagonals, accident counts in the surroundings and in the commune.

Statistics of the training rows are coordinates and accident counts, never severities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LOCATION_FEATURES: Final[tuple[str, ...]] = (
    *("lat", "long", "department", "commune_accidents", "to_northeast", "to_northwest"),
    *("accidents_here", "accidents_near", "accidents_around"),
)
COORDINATES: Final = ("lat", "long")
# Features that count training accidents.
COUNT_FEATURES: Final = ("commune_accidents", "accidents_here", "accidents_near", "accidents_around")

# Side of a cell in degrees: 280 m from south to north, about 200 m from west to east in France.
CELL_DEGREES: Final = 0.0025
# Cells per side of a square; accidents are counted in three by three squares around a location.
SQUARE_SIDES: Final = (1, 4, 20)
_SIDES: Final = np.array(SQUARE_SIDES)[:, None, None]
# Keys encode (size, row, column) in one number: the width is the number of cells around the globe and a margin.
_WIDTH: Final = 2**18
_LEVEL: Final = _WIDTH * np.arange(len(SQUARE_SIDES))[:, None] * _WIDTH
# Offset that makes rows and columns at least 1, and the maximum of the coordinates.
_ORIGIN: Final = np.array([[90.0], [180.0]]) + max(SQUARE_SIDES) * CELL_DEGREES
_FARTHEST: Final = np.array([[90.0], [180.0]])
# Length of a degree of longitude in degrees of latitude, in the middle of France.
_DEGREE_EAST: Final = 0.7
_CORSICA: Final = {"2A": 20.0, "2B": 20.5}


@dataclass(frozen=True)
class LocationStatistics:
    """Coordinates and accident counts of the training rows.

    Args:
        communes: INSEE code → (accidents, latitude, longitude of their centre).
        departments: department → (latitude, longitude) of the centre of its accidents.
        cells: key of a cell of `CELL_DEGREES` degrees, as text → accidents.
        accidents: number of all training accidents; count features are per 100,000 of these.
    """

    communes: Mapping[str, tuple[int, float, float]] = field(default_factory=dict)
    departments: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    cells: Mapping[str, int] = field(default_factory=dict)
    accidents: int = 0

    @classmethod
    def learn(cls, accidents: Mapping[str, NDArray[Any]]) -> LocationStatistics:
        """Statistics of columns with one row per training accident; absent columns are unknown."""
        rows = len(next(iter(accidents.values()))) if accidents else 0
        lat, long = (accidents.get(name, np.full(rows, np.nan)) for name in COORDINATES)
        departments = {name: (at, on) for name, (_, at, on) in _find_centres(accidents.get("dep"), lat, long).items()}
        at, known = _find_cells(lat, long)
        keys, counts = np.unique(_encode_cells(at[:, known]), return_counts=True)
        cells = {str(key): count for key, count in zip(keys.tolist(), counts.tolist(), strict=True)}
        return cls(_find_centres(accidents.get("com"), lat, long), departments, cells, rows)

    @classmethod
    def from_document(cls, raw: Mapping[str, Any]) -> LocationStatistics:
        """Statistics of a parsed `features.json`."""
        return cls(
            {code: tuple(place) for code, place in raw["communes"].items()},
            {code: tuple(place) for code, place in raw["departments"].items()},
            raw.get("cells", {}),  # absent in bundles of older code, whose models do not use them
            raw["accidents"],
        )

    def features(self, columns: Mapping[str, NDArray[Any]], n: int, training_rows: bool) -> NDArray[np.float32]:
        """`LOCATION_FEATURES` of every row, shape (9, n); NaN = missing.

        Unknown coordinates are replaced by the centre of the commune, else of the department; the counts around are
        missing then. `training_rows`: the statistics were learnt from these rows; counts exclude the own accident.
        """
        out = np.full((len(LOCATION_FEATURES), n), np.nan, dtype=np.float32)
        if all(name in columns for name in COORDINATES):
            out[6:] = self._around(columns["lat"], columns["long"], training_rows)
        for row, name in enumerate(COORDINATES):
            if name in columns:
                out[row] = columns[name]
        com, dep = columns.get("com"), columns.get("dep")
        nowhere = (0.0, np.nan, np.nan)
        if com is not None:
            places = [self.communes.get(code, nowhere) if code else (np.nan, np.nan, np.nan) for code in com.tolist()]
            centre = np.array(places, dtype=np.float32).T if n else np.empty((3, 0), dtype=np.float32)
            # Subtracted before scaling, so that a count is the same number for training rows and others.
            out[3] = np.maximum(centre[0] - np.float32(training_rows), 0) * self._scale
            np.copyto(out[:2], centre[1:], where=np.isnan(out[:2]))
        if dep is not None:
            codes = dep.tolist()
            out[2] = [parse_department(code) for code in codes]
            if (missing := np.isnan(out[:2])).any():
                centres = np.array([self.departments.get(code, nowhere[1:]) for code in codes], dtype=np.float32).T
                np.copyto(out[:2], centres, where=missing)
        # Trees split along axes; roads and regions do not follow them.
        east = np.float32(_DEGREE_EAST) * out[1]
        out[4], out[5] = out[0] + east, out[0] - east
        return out

    def _around(
        self, lat: NDArray[np.floating], long: NDArray[np.floating], training_rows: bool
    ) -> NDArray[np.float32]:
        """Accidents in three by three squares around every location, per 100,000, by `SQUARE_SIDES`; shape (3, n)."""
        cells, known = _find_cells(lat, long)
        keys, counts = self._neighbourhoods
        wanted = _encode_cells(cells // _SIDES) + _LEVEL
        found = keys.searchsorted(wanted)
        number = counts.take(found) * (keys.take(found) == wanted)
        if training_rows:
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
        around = np.concatenate([_encode_cells(squares + step) + _LEVEL for step in steps], axis=1)
        found, place = np.unique(around, return_inverse=True)
        counts = np.bincount(
            place.ravel(), weights=np.tile(amount, len(steps) * len(SQUARE_SIDES)), minlength=len(found)
        )
        # A sentinel key that no location has, for lookups beyond the last key.
        return np.append(found, np.iinfo(np.int64).max), np.append(counts, 0).astype(np.float32)


def parse_department(code: str | None) -> float:
    """Department as a number: "01" → 1, "2A" → 20, "2B" → 20.5, "974" → 974, otherwise NaN."""
    if not code:
        return np.nan
    return float(code) if code.isdecimal() else _CORSICA.get(code, np.nan)


def _find_cells(lat: NDArray[np.floating], long: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Row and column of the cell of every location, shape (2, n), and whether its coordinates are valid, shape (n,)."""
    at = np.array([lat, long], dtype=np.float64)
    valid = np.abs(at) <= _FARTHEST
    known: NDArray[np.bool_] = valid[0] & valid[1]
    at = np.where(known, at, 0.0)
    at += _ORIGIN
    return np.floor_divide(at, CELL_DEGREES, out=at).astype(np.int64), known


def _encode_cells(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows and columns of cells, shape (…, 2, n) → keys, shape (…, n)."""
    return cells[..., 0, :] * _WIDTH + cells[..., 1, :]


def _find_centres(
    codes: NDArray[Any] | None, lat: NDArray[np.floating], long: NDArray[np.floating]
) -> dict[str, tuple[int, float, float]]:
    """Code → (accidents, median latitude, median longitude), sorted by code, without unknown codes."""
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
