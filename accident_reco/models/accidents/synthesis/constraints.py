"""What no road user of an accident can be, synthetic or not. Each rule is one vectorised predicate with a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.context import DRIVER, PEDESTRIAN, kind_of_catv

Columns = Mapping[str, NDArray[Any]]
Rule = Callable[[Columns], NDArray[np.bool_]]

MOTORWAY: Final = 1
PEDESTRIAN_SEAT: Final = 10
BICYCLE_KIND, DEVICE_KIND, CAR_KIND = 3, 2, 7
BELT, HELMET = 1, 2


def _age(c: Columns) -> NDArray[np.int64]:
    return np.where(c["an_nais"] > 0, c["an"].astype(np.int64) - c["an_nais"], -1)


def _wears(c: Columns, code: int) -> NDArray[np.bool_]:
    return (c["secu1"] == code) | (c["secu2"] == code) | (c["secu3"] == code)


RULES: Final[dict[str, Rule]] = {
    "a pedestrian has no seat": lambda c: (
        (c["catu"] == PEDESTRIAN) & (c["place"] >= 0) & (c["place"] != PEDESTRIAN_SEAT)
    ),
    "only a pedestrian has the pedestrian's place": lambda c: (
        (c["catu"] != PEDESTRIAN) & (c["place"] == PEDESTRIAN_SEAT)
    ),
    "a driver sits at the wheel": lambda c: (c["catu"] == DRIVER) & (c["place"] > 1),
    "a bicycle is on no motorway": lambda c: (
        (c["catr"] == MOTORWAY)
        & np.isin(kind_of_catv(c["catv"]), (BICYCLE_KIND, DEVICE_KIND))
        & (c["catu"] != PEDESTRIAN)
    ),
    "a cyclist wears no belt": lambda c: (
        (kind_of_catv(c["catv"]) == BICYCLE_KIND) & (c["catu"] != PEDESTRIAN) & _wears(c, BELT)
    ),
    "nobody is born after the accident": lambda c: (c["an_nais"] > 0) & (c["an_nais"] > c["an"]),
    "no child drives a car": lambda c: (
        (c["catu"] == DRIVER) & (kind_of_catv(c["catv"]) == CAR_KIND) & (_age(c) >= 0) & (_age(c) < 10)
    ),
    "a pedestrian's accident counts a pedestrian": lambda c: (c["catu"] == PEDESTRIAN) & (c["nb_pedestrians"] == 0),
    "an accident has at least its own user": lambda c: c["nb_users"] < 1,
    "no more pedestrians than users": lambda c: c["nb_pedestrians"] > c["nb_users"],
}


def broken(columns: Columns) -> dict[str, NDArray[np.bool_]]:
    """For each rule the rows that break it."""
    return {name: rule(columns) for name, rule in RULES.items()}


def valid(columns: Columns) -> NDArray[np.bool_]:
    """Rows that keep every rule."""
    return ~np.logical_or.reduce(list(broken(columns).values()))
