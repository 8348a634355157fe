"""Communes and departments as a version knows them: from the statistics of its training rows (`features.json`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import cos, radians

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook.departments import get_department
from accident_reco.models.accidents.features.location_features import LocationStatistics

_KM_PER_DEGREE = 111.2


@dataclass(frozen=True)
class Commune:
    """A commune with training accidents.

    Args:
        com, dep: INSEE codes.
        lat, long: median location of its accidents, in degrees.
        accidents: number of its training accidents.
        distance_km: from the location that was looked up.
    """

    com: str
    dep: str
    lat: float
    long: float
    accidents: int
    distance_km: float


class Communes:
    """Look-ups over the communes of one version."""

    def __init__(self, statistics: LocationStatistics) -> None:
        self._statistics = statistics

    def find_nearest(self, lat: float, long: float) -> Commune | None:
        """The commune whose centre is nearest; None where the version knows no communes.

        Distances are those of a plane around the location: exact to a percent within a hundred kilometres.
        """
        codes, centres, accidents = self._communes
        if not codes:
            return None
        east = (centres[:, 1] - long) * cos(radians(lat))
        distance = np.hypot(centres[:, 0] - lat, east) * _KM_PER_DEGREE
        row = int(np.argmin(distance))
        com = codes[row]
        at, on = centres[row].tolist()
        return Commune(com, get_department(com), at, on, int(accidents[row]), round(float(distance[row]), 1))

    def departments(self) -> dict[str, tuple[float, float]]:
        """Department → latitude and longitude of the centre of its training accidents."""
        return dict(self._statistics.departments)

    @cached_property
    def _communes(self) -> tuple[list[str], NDArray[np.float64], NDArray[np.int64]]:
        known = self._statistics.communes
        rows = np.array(list(known.values()), dtype=np.float64).reshape(-1, 3)
        return list(known), rows[:, 1:], rows[:, 0].astype(np.int64)
