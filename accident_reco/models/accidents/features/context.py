"""Context columns of a road user: the other users and vehicles of the accident.

Pure numpy, one function for the yearly merge and for nested accidents of a request. Severity (`grav`) is not used:
context is known when the accident is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS, N_KINDS

IntArray = NDArray[np.integer]

PEDESTRIAN: Final = 3
DRIVER: Final = 1

_CATV_BY_KIND: Final[dict[int, tuple[int, ...]]] = {
    2: (50, 60),
    3: (1, 80),
    4: (2, 4, 30, 41),
    5: (5, 6, 31, 32, 33, 34, 42, 43),
    6: (3, 35, 36),
    7: (7, 8, 9),
    8: (10, 11, 12),
    9: (20, 21),
    10: (18, 37, 38),
    11: (13, 14, 15, 16, 17),
    12: (19, 39, 40),
}
# On foot 0, on a moped or motorcycle 1, on a cycle 2, in a car or van 3, anything else 4.
GROUP_OF_KIND: Final = np.array([4, 4, 2, 2, 1, 1, 4, 3, 3, 4, 4, 4, 4])


def _build_kind_table() -> NDArray[np.int64]:
    table = np.ones(101, dtype=np.int64)
    for kind, codes in _CATV_BY_KIND.items():
        table[list(codes)] = kind
    table.setflags(write=False)
    return table


# Index 0..99 is catv; index 100 (also reached by catv = -1 through negative indexing) is "other".
_KIND_OF_CATV: Final = _build_kind_table()


def classify_vehicles(catv: IntArray) -> NDArray[np.int64]:
    """Kind of vehicle (index into `KINDS`) of official `catv` codes, shape (n,); 1 ("other") for -1 and other codes."""
    return _KIND_OF_CATV[np.minimum(catv, 100)]


def build_accident_context(
    user_accident: IntArray,
    user_vehicle: IntArray,
    users: Mapping[str, IntArray],
    vehicle_accident: IntArray,
    vehicles: Mapping[str, IntArray],
    n_accidents: int,
) -> dict[str, NDArray[np.int32]]:
    """Context columns of every user, each of shape (users,), in the order of the users.

    Args:
        user_accident, vehicle_accident: positions 0 … n_accidents - 1.
        user_vehicle: position of the user's vehicle (for a pedestrian: of the vehicle that hit them), -1: none.
        users: may have `catu`, `sexe`, `an_nais`, `secu1`, `secu2`, `secu3`; an absent column is unknown (-1).
        vehicles: may have `catv`. Vehicles without users count, such as parked cars.

    Columns (int32, -1 = unknown):
    nb_users, nb_vehicles, nb_pedestrians: in the accident; nb_occupants: users in the same vehicle, no pedestrians;
    nb_cycles (and personal mobility devices), nb_two_wheeled (mopeds, motorcycles), nb_light, nb_heavy: vehicles;
    other_kind: heaviest vehicle besides the user's own, index into `KINDS`, 0 = no other vehicle;
    driver_an_nais, driver_sexe: driver of the user's own vehicle (for a pedestrian: of the vehicle that hit them);
    other_an_nais, other_sexe: first user outside the user's own vehicle (for a pedestrian: the driver who hit them);
    nb_unknown_users: users whose sex and birth year are both unknown, as of those who fled;
    others_vulnerable, others_riding, others_cycling, others_in_cars: users besides this one who are on foot or on two
    wheels, on a moped or motorcycle, on a cycle, in a car or van;
    others_unprotected: users besides this one known to wear neither belt nor helmet; vehicle_unprotected: those of them
    in the user's own vehicle.
    """
    n_users, n_vehicles = len(user_accident), len(vehicle_accident)
    unknown = np.full(n_users, -1, dtype=np.int64)
    catu, sexe, an_nais = (users.get(name, unknown) for name in ("catu", "sexe", "an_nais"))
    catv = vehicles.get("catv")
    kind = np.ones(n_vehicles, dtype=np.int64) if catv is None else classify_vehicles(catv)

    by_kind = np.bincount(vehicle_accident * N_KINDS + kind, minlength=n_accidents * N_KINDS)
    by_kind = by_kind.reshape(n_accidents, N_KINDS)
    on_foot = catu == PEDESTRIAN
    nb_users = np.bincount(user_accident, minlength=n_accidents)
    nb_pedestrians = np.bincount(user_accident[on_foot], minlength=n_accidents)
    if "sexe" in users and "an_nais" in users:
        nb_unknown = np.bincount(user_accident[(sexe < 0) & (an_nais < 0)], minlength=n_accidents)[user_accident]
    else:
        nb_unknown = unknown

    # Position -1 (no vehicle) is mapped to an extra slot behind the vehicles.
    slot = np.where(user_vehicle < 0, n_vehicles, user_vehicle)
    seated = np.bincount(slot[~on_foot], minlength=n_vehicles + 1)
    own_kind = np.append(kind, 0)[slot]

    others = by_kind[user_accident]
    others[np.arange(n_users), own_kind] -= 1
    heaviest = N_KINDS - 1 - np.argmax(others[:, ::-1] > 0, axis=1)
    # argmax of an all-false row is 0, which reads as the last kind: such a row has no other vehicle.
    other_kind = np.where(others[np.arange(n_users), heaviest] > 0, heaviest, 0)

    driver = np.full(n_vehicles + 1, -1, dtype=np.int64)
    drives = np.flatnonzero(catu == DRIVER)
    driver[slot[drives[::-1]]] = drives[::-1]
    driver[n_vehicles] = -1
    own_driver = driver[slot]
    other = _find_first_other(user_accident, np.where(on_foot, -1 - np.arange(n_users), slot), n_accidents)
    other = np.where(on_foot & (own_driver >= 0), own_driver, other)

    sum_of = by_kind[user_accident]
    nb_occupants = np.where(user_vehicle < 0, -1, seated[slot])
    others_by_group = _count_others(user_accident, n_accidents, on_foot, own_kind)
    unprotected = ~on_foot & _is_unprotected(users)
    others_unprotected, vehicle_unprotected = unknown, unknown
    if "secu1" in users:
        others_unprotected = np.bincount(user_accident[unprotected], minlength=n_accidents)[user_accident] - unprotected
        vehicle_unprotected = np.bincount(slot[unprotected], minlength=n_vehicles + 1)[slot] - unprotected
        vehicle_unprotected = np.where(user_vehicle < 0, -1, vehicle_unprotected)
    columns = (
        nb_users[user_accident],
        sum_of.sum(axis=1),
        nb_pedestrians[user_accident],
        nb_occupants,
        sum_of[:, 2:4].sum(axis=1),
        sum_of[:, 4:6].sum(axis=1),
        sum_of[:, 6:9].sum(axis=1),
        sum_of[:, 9:].sum(axis=1),
        other_kind,
        _take_or_unknown(an_nais, own_driver),
        _take_or_unknown(sexe, own_driver),
        _take_or_unknown(an_nais, other),
        _take_or_unknown(sexe, other),
        nb_unknown,
        *others_by_group,
        others_unprotected,
        vehicle_unprotected,
    )
    return {name: column.astype(np.int32) for name, column in zip(CONTEXT_COLUMNS, columns, strict=True)}


def _count_others(
    accident: IntArray, n_accidents: int, on_foot: NDArray[np.bool_], own_kind: IntArray
) -> tuple[IntArray, ...]:
    """Other users of the accident, shape (n,) each: vulnerable, riding, cycling, in a car or van."""
    group = np.where(on_foot, 0, GROUP_OF_KIND[own_kind])
    counts = np.bincount(accident * 5 + group, minlength=n_accidents * 5).reshape(n_accidents, 5)[accident]
    counts[np.arange(len(accident)), group] -= 1
    return counts[:, :3].sum(axis=1), counts[:, 1], counts[:, 2], counts[:, 3]


def _is_unprotected(users: Mapping[str, IntArray]) -> NDArray[np.bool_]:
    """Users whose safety equipment is known and holds neither belt (1), helmet (2) nor child seat (3)."""
    known: NDArray[np.bool_] = np.zeros(1, dtype=bool)
    worn: NDArray[np.bool_] = np.zeros(1, dtype=bool)
    for name in ("secu1", "secu2", "secu3"):
        if name in users:
            code = users[name]
            known = known | ((code >= 0) & (code != 8))
            worn = worn | ((code >= 1) & (code <= 3))
    return known & ~worn


def _take_or_unknown(values: IntArray, position: IntArray) -> IntArray:
    """`values[position]`, -1 where the position is negative."""
    return np.where(position < 0, -1, values[position]) if len(values) else np.asarray(values)


def _find_first_other(accident: IntArray, party: IntArray, n_accidents: int) -> NDArray[np.int64]:
    """Position of the first user of the same accident in another party, shape (n,), -1: none.

    Either the first user of the accident (if of another party) or the first user of another party than that one.
    """
    n = len(accident)
    first = np.full(n_accidents, -1, dtype=np.int64)
    first[accident[::-1]] = np.arange(n - 1, -1, -1)
    leader = first[accident]
    different = np.flatnonzero(party != party[leader])
    second = np.full(n_accidents, -1, dtype=np.int64)
    second[accident[different[::-1]]] = different[::-1]
    return np.where(party != party[leader], leader, second[accident])
