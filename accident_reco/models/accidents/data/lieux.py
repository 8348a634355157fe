"""Selection of the main road among the `lieux` rows of an accident.

By the official description `lieux` is "le lieu principal de l'accident même si celui-ci s'est déroulé à une
intersection", but since 2019 the files have one row per road, in no specified order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# Road categories by descending importance in the network.
HIERARCHY: Final = (1, 2, 3, 7, 4, 5, 6, 9)
_RANK: Final = np.full(11, len(HIERARCHY), dtype=np.int64)
_RANK[list(HIERARCHY)] = np.arange(len(HIERARCHY))
_CODED: Final = ("catr", "circ", "nbv", "vosp", "prof", "plan", "surf", "infra", "situ", "vma")


def select_main_roads(accident: NDArray[np.integer], columns: Mapping[str, NDArray[Any]]) -> NDArray[np.intp]:
    """Row of the main road of every accident, in ascending order of accident.

    Rule: the highest category of road (motorway, national, departmental, metropolitan, municipal, others); among equals
    the higher speed limit; then more lanes; then the row with more filled fields; then the first in the file.
    """
    count = len(accident)
    category = np.clip(columns["catr"].astype(np.int64), -1, 10)
    filled = sum((columns[name] >= 0).astype(np.int64) for name in _CODED)
    lanes, speed = columns["nbv"].astype(np.int64), columns["vma"].astype(np.int64)
    order = np.lexsort((np.arange(count), -np.asarray(filled), -lanes, -speed, _RANK[category], accident))
    if not count:
        return order
    first = np.ones(count, dtype=bool)
    first[1:] = accident[order][1:] != accident[order][:-1]
    return order[first]


def rank_in_accident(accident: NDArray[np.integer]) -> NDArray[np.int16]:
    """1 for the first row of an accident in the file, 2 for the second …"""
    order = np.argsort(accident, kind="stable")
    ordered = accident[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else ordered[:0]
    lengths = np.diff(np.append(starts, len(ordered)))
    rank = np.empty(len(accident), dtype=np.int16)
    rank[order] = np.arange(len(ordered)) - np.repeat(starts, lengths) + 1
    return rank
