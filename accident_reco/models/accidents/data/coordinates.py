"""Valid coordinates of French accidents by department, and the repair of others."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.data.adapters import CanonicalTable
from accident_reco.models.accidents.data.quarantine import Quarantine

# South, north, west, east in degrees, with a margin for bridges, ferries and rounding.
BOXES: Final = MappingProxyType(
    {
        "metropole": (41.2, 51.3, -5.4, 9.8),
        "971": (15.7, 16.7, -62.0, -60.8),
        "972": (14.2, 15.1, -61.4, -60.6),
        "973": (1.9, 6.1, -54.8, -51.4),
        "974": (-21.6, -20.7, 55.0, 56.0),
        "975": (46.6, 47.3, -56.6, -56.0),
        "976": (-13.2, -12.4, 44.8, 45.5),
        "977": (17.7, 18.1, -63.1, -62.6),
        "978": (17.9, 18.3, -63.4, -62.8),
        "986": (-14.6, -13.0, -178.4, -175.9),
        "987": (-28.5, -7.5, -155.5, -134.0),
        "988": (-23.5, -17.0, 158.0, 172.5),
    }
)
_NAMES: Final = tuple(BOXES)
_EDGES: Final = np.array([BOXES[name] for name in _NAMES])


def repair_coordinates(accidents: CanonicalTable, notes: Quarantine) -> None:
    """Exchange latitude and longitude where that puts the point into its department's territory; others become unknown.

    A single coordinate without the other becomes unknown as well.
    """
    columns = accidents.columns
    lat, long = columns["lat"].astype(np.float64), columns["long"].astype(np.float64)
    # -1 is a longitude in the west of France, and the mark of a missing one where there is no latitude either.
    long[(long == -1) & np.isnan(lat)] = np.nan
    position = {name: index for index, name in enumerate(_NAMES)}
    box = np.array([position.get(dep or "", 0) for dep in columns["dep"].tolist()], dtype=np.intp)
    south, north, west, east = _EDGES[box].T if len(box) else np.empty((4, 0))
    with np.errstate(invalid="ignore"):
        fits = (lat >= south) & (lat <= north) & (long >= west) & (long <= east)
        swapped = ~fits & (long >= south) & (long <= north) & (lat >= west) & (lat <= east)
    known = ~(np.isnan(lat) & np.isnan(long))
    invalid = known & ~fits & ~swapped
    for rule, mask, why in (
        ("swapped_coordinates", swapped, "are exchanged"),
        ("impossible_coordinates", invalid, "are not in the department's territory"),
    ):
        rows = np.flatnonzero(mask)
        values = [f"{x:g}, {y:g}" for x, y in zip(lat[rows], long[rows], strict=True)]
        reasons = [f"{why} (department {columns['dep'][row]})" for row in rows]
        accidents.repair(rule, rows, "lat, long", values, reasons, notes)
    missing: NDArray[np.float64] = np.full(len(lat), np.nan)
    columns["lat"] = np.where(fits, lat, np.where(swapped, long, missing))
    columns["long"] = np.where(fits, long, np.where(swapped, lat, missing))
