"""Constraints on a road user's columns, real or synthetic: named vectorised predicates that find violations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.context import DRIVER, PEDESTRIAN, classify_vehicles

Columns = Mapping[str, NDArray[Any]]
Constraint = Callable[[Columns], NDArray[np.bool_]]

MOTORWAY: Final = 1
PEDESTRIAN_SEAT: Final = 10
BICYCLE_KIND, DEVICE_KIND, CAR_KIND = 3, 2, 7
BELT, HELMET = 1, 2


def _compute_age(c: Columns) -> NDArray[np.int64]:
    return np.where(c["an_nais"] > 0, c["an"].astype(np.int64) - c["an_nais"], -1)


def _wears(c: Columns, code: int) -> NDArray[np.bool_]:
    return (c["secu1"] == code) | (c["secu2"] == code) | (c["secu3"] == code)


CONSTRAINTS: Final[dict[str, Constraint]] = {
    "a pedestrian has no seat": lambda c: (
        (c["catu"] == PEDESTRIAN) & (c["place"] >= 0) & (c["place"] != PEDESTRIAN_SEAT)
    ),
    "only a pedestrian has the pedestrian's place": lambda c: (
        (c["catu"] != PEDESTRIAN) & (c["place"] == PEDESTRIAN_SEAT)
    ),
    "a driver sits at the wheel": lambda c: (c["catu"] == DRIVER) & (c["place"] > 1),
    "a bicycle is on no motorway": lambda c: (
        (c["catr"] == MOTORWAY)
        & np.isin(classify_vehicles(c["catv"]), (BICYCLE_KIND, DEVICE_KIND))
        & (c["catu"] != PEDESTRIAN)
    ),
    "a cyclist wears no belt": lambda c: (
        (classify_vehicles(c["catv"]) == BICYCLE_KIND) & (c["catu"] != PEDESTRIAN) & _wears(c, BELT)
    ),
    "no birth after the accident": lambda c: (c["an_nais"] > 0) & (c["an_nais"] > c["an"]),
    "no child drives a car": lambda c: (
        (c["catu"] == DRIVER)
        & (classify_vehicles(c["catv"]) == CAR_KIND)
        & (_compute_age(c) >= 0)
        & (_compute_age(c) < 10)
    ),
    "a pedestrian's accident counts a pedestrian": lambda c: (c["catu"] == PEDESTRIAN) & (c["nb_pedestrians"] == 0),
    "an accident has at least its own user": lambda c: c["nb_users"] < 1,
    "no more pedestrians than users": lambda c: c["nb_pedestrians"] > c["nb_users"],
}


def find_violations(columns: Columns) -> dict[str, NDArray[np.bool_]]:
    """Constraint → rows that violate it, shape (n,)."""
    return {name: constraint(columns) for name, constraint in CONSTRAINTS.items()}


def is_valid(columns: Columns) -> NDArray[np.bool_]:
    """Whether each row satisfies every constraint, shape (n,)."""
    return ~np.logical_or.reduce(list(find_violations(columns).values()))
