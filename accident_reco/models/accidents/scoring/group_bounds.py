"""Conformal bounds by group of road users: region of similar severity, in or outside towns, kind of user.

The coverage is promised in every group that the known fields of a road user determine; with an unknown department,
place or kind of user the bounds are those of everybody, and nothing is promised for a smaller group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.scoring.user_groups import (
    KINDS_OF_USER,
    SURROUNDINGS,
    UNKNOWN,
    classify_surroundings,
    classify_users,
    count_rows,
)

EVERYBODY: Final = 0


@dataclass(frozen=True)
class GroupBounds:
    """Groups and the probabilities between which neither class can be excluded.

    Args:
        regions: department → region, 0 (least severe) and up.
        cells: group of [surroundings][kind of user][region]; `EVERYBODY` where a cell has no group of its own.
        names: name of each group.
        low, high: bounds of each group; see `DecisionRule`.
    """

    regions: Mapping[str, int]
    cells: Sequence[Sequence[Sequence[int]]]
    names: Sequence[str]
    low: Sequence[float]
    high: Sequence[float]

    def find_groups(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Group of every row of raw columns, shape (n,)."""
        if "dep" not in columns:
            return np.full(count_rows(columns), EVERYBODY)
        place, kind = classify_surroundings(columns), classify_users(columns)
        region = np.array([self.regions.get(code, UNKNOWN) for code in columns["dep"].tolist()], dtype=np.int64)
        return self._table[place, kind, region]

    def find_bounds(self, columns: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Bounds (from, to) of every row of raw columns, shape (n,) each."""
        group = self.find_groups(columns)
        return self._bounds[0][group], self._bounds[1][group]

    @cached_property
    def _table(self) -> NDArray[np.int64]:
        """Cells with one more entry in each direction, for unknown, which index -1 reads."""
        cells = np.array(self.cells, dtype=np.int64)
        return np.pad(cells, [(0, 1)] * 3, constant_values=EVERYBODY)

    @cached_property
    def _bounds(self) -> NDArray[np.float64]:
        return np.array([self.low, self.high], dtype=np.float64)


def describe_group(places: Sequence[int], kinds: Sequence[int], regions: Sequence[int]) -> str:
    """Name of a group of cells: `outside towns, car or van, regions 1-2`."""
    where = " and ".join(SURROUNDINGS[place] for place in places)
    everyone = len(kinds) == len(KINDS_OF_USER)
    who = "all road users" if everyone else " or ".join(KINDS_OF_USER[kind] for kind in kinds)
    first, last = min(regions) + 1, max(regions) + 1
    return f"{where}, {who}, region {first}" if first == last else f"{where}, {who}, regions {first}-{last}"
