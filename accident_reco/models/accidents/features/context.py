"""What one road user's record cannot say alone: who and what else took part in the accident.

Pure numpy, one function for the yearly merge and for a request's nested accidents. Severity (`grav`) never enters:
a context column is something a caller can know while the accident is being reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.integer]

PEDESTRIAN: Final = 3
DRIVER: Final = 1

# Kinds of vehicle, ordered so that the highest code among several is the heaviest party.
KINDS: Final[tuple[str, ...]] = (
    "none", "other", "personal mobility device", "bicycle", "moped", "motorcycle", "quad or microcar",
    "car", "van", "agricultural or special", "bus or coach", "heavy goods vehicle", "train or tram",
)  # fmt: skip
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
N_KINDS: Final = len(KINDS)
# On foot 0, on a moped or motorcycle 1, on a cycle 2, in a car or van 3, anything else 4.
_GROUP_OF_KIND: Final = np.array([4, 4, 2, 2, 1, 1, 4, 3, 3, 4, 4, 4, 4])


def _kind_table() -> NDArray[np.int64]:
    table = np.ones(101, dtype=np.int64)
    for kind, codes in _CATV_BY_KIND.items():
        table[list(codes)] = kind
    table.setflags(write=False)
    return table


# Index 0..99 is catv; index 100 (also reached by catv = -1 through negative indexing) is "other".
_KIND_OF_CATV: Final = _kind_table()

CONTEXT_COLUMNS: Final[tuple[str, ...]] = (
    "nb_users", "nb_vehicles", "nb_pedestrians", "nb_occupants", "nb_cycles", "nb_two_wheeled", "nb_light", "nb_heavy",
    "other_kind", "driver_an_nais", "driver_sexe", "other_an_nais", "other_sexe", "nb_unknown_users",
    "others_vulnerable", "others_riding", "others_cycling", "others_in_cars", "others_unprotected",
    "vehicle_unprotected",
)  # fmt: skip


def kind_of_catv(catv: IntArray) -> NDArray[np.int64]:
    """Kind of vehicle (index into `KINDS`) for official `catv` codes; -1 and unheard-of codes give 1 ("other")."""
    return _KIND_OF_CATV[np.minimum(catv, 100)]


def accident_context(
    user_accident: IntArray,
    user_vehicle: IntArray,
    users: Mapping[str, IntArray],
    vehicle_accident: IntArray,
    vehicles: Mapping[str, IntArray],
    n_accidents: int,
) -> dict[str, NDArray[np.int32]]:
    """Context columns of every user, in the order of the users.

    `user_accident` and `vehicle_accident` are positions 0..n_accidents-1; `user_vehicle` is the position of the user's
    vehicle in the vehicle arrays (for a pedestrian: the vehicle that hit them), -1 when there is none. `users` may hold
    `catu`, `sexe`, `an_nais`, `secu1`, `secu2`, `secu3`; `vehicles` may hold `catv`; other columns are ignored, and a
    column that is absent is unknown (-1) everywhere. Vehicles without users count: a parked car is a party too.

    Columns (int32, -1 = unknown):
    nb_users, nb_vehicles, nb_pedestrians: in the accident; nb_occupants: users in the same vehicle, no pedestrians;
    nb_cycles (and personal mobility devices), nb_two_wheeled (mopeds, motorcycles), nb_light, nb_heavy: vehicles;
    other_kind: heaviest vehicle besides the user's own, index into `KINDS`, 0 = no other vehicle;
    driver_an_nais, driver_sexe: driver of the user's own vehicle (for a pedestrian: of the vehicle that hit them);
    other_an_nais, other_sexe: first user outside the user's own vehicle (for a pedestrian: the driver who hit them);
    nb_unknown_users: users whose sex and birth year are both unknown, as of people who fled;
    others_vulnerable, others_riding, others_cycling, others_in_cars: users besides this one who are on foot or on two
    wheels, on a moped or motorcycle, on a cycle, in a car or van;
    others_unprotected: users besides this one known to wear neither belt nor helmet; vehicle_unprotected: those of them
    in the user's own vehicle.
    """
    n_users, n_vehicles = len(user_accident), len(vehicle_accident)
    unknown = np.full(n_users, -1, dtype=np.int64)
    catu, sexe, an_nais = (users.get(name, unknown) for name in ("catu", "sexe", "an_nais"))
    catv = vehicles.get("catv")
    kind = np.ones(n_vehicles, dtype=np.int64) if catv is None else kind_of_catv(catv)

    by_kind = np.bincount(vehicle_accident * N_KINDS + kind, minlength=n_accidents * N_KINDS)
    by_kind = by_kind.reshape(n_accidents, N_KINDS)
    on_foot = catu == PEDESTRIAN
    nb_users = np.bincount(user_accident, minlength=n_accidents)
    nb_pedestrians = np.bincount(user_accident[on_foot], minlength=n_accidents)
    if "sexe" in users and "an_nais" in users:
        nb_unknown = np.bincount(user_accident[(sexe < 0) & (an_nais < 0)], minlength=n_accidents)[user_accident]
    else:
        nb_unknown = unknown

    # Position -1 (no vehicle) is sent to one extra slot behind the vehicles.
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
    other = _first_other(user_accident, np.where(on_foot, -1 - np.arange(n_users), slot), n_accidents)
    other = np.where(on_foot & (own_driver >= 0), own_driver, other)

    sum_of = by_kind[user_accident]
    nb_occupants = np.where(user_vehicle < 0, -1, seated[slot])
    people = _others(user_accident, n_accidents, on_foot, own_kind)
    bare = ~on_foot & _unprotected(users)
    bare_others, bare_aboard = unknown, unknown
    if "secu1" in users:
        bare_others = np.bincount(user_accident[bare], minlength=n_accidents)[user_accident] - bare
        bare_aboard = np.bincount(slot[bare], minlength=n_vehicles + 1)[slot] - bare
        bare_aboard = np.where(user_vehicle < 0, -1, bare_aboard)
    columns = (
        nb_users[user_accident], sum_of.sum(axis=1), nb_pedestrians[user_accident], nb_occupants,
        sum_of[:, 2:4].sum(axis=1), sum_of[:, 4:6].sum(axis=1), sum_of[:, 6:9].sum(axis=1), sum_of[:, 9:].sum(axis=1),
        other_kind, _pick(an_nais, own_driver), _pick(sexe, own_driver), _pick(an_nais, other), _pick(sexe, other),
        nb_unknown, *people, bare_others, bare_aboard,
    )  # fmt: skip
    return {name: column.astype(np.int32) for name, column in zip(CONTEXT_COLUMNS, columns, strict=True)}


def _others(
    accident: IntArray, n_accidents: int, on_foot: NDArray[np.bool_], own_kind: IntArray
) -> tuple[IntArray, ...]:
    """Users of the same accident besides oneself: vulnerable, riding, cycling, in a car or van."""
    group = np.where(on_foot, 0, _GROUP_OF_KIND[own_kind])
    counts = np.bincount(accident * 5 + group, minlength=n_accidents * 5).reshape(n_accidents, 5)[accident]
    counts[np.arange(len(accident)), group] -= 1
    return counts[:, :3].sum(axis=1), counts[:, 1], counts[:, 2], counts[:, 3]


def _unprotected(users: Mapping[str, IntArray]) -> NDArray[np.bool_]:
    """Users whose safety equipment is known and holds neither belt (1), helmet (2) nor child seat (3)."""
    known: NDArray[np.bool_] = np.zeros(1, dtype=bool)
    worn: NDArray[np.bool_] = np.zeros(1, dtype=bool)
    for name in ("secu1", "secu2", "secu3"):
        if name in users:
            code = users[name]
            known = known | ((code >= 0) & (code != 8))
            worn = worn | ((code >= 1) & (code <= 3))
    return known & ~worn


def _pick(values: IntArray, position: IntArray) -> IntArray:
    """`values[position]`, -1 where the position is negative."""
    return np.where(position < 0, -1, values[position]) if len(values) else np.asarray(values)


def _first_other(accident: IntArray, party: IntArray, n_accidents: int) -> NDArray[np.int64]:
    """For every user the first user of the same accident who belongs to another party, -1 when there is none.

    Either the accident's first user (when of another party) or the first user whose party differs from that one's.
    """
    n = len(accident)
    first = np.full(n_accidents, -1, dtype=np.int64)
    first[accident[::-1]] = np.arange(n - 1, -1, -1)
    leader = first[accident]
    apart = np.flatnonzero(party != party[leader])
    second = np.full(n_accidents, -1, dtype=np.int64)
    second[accident[apart[::-1]]] = apart[::-1]
    return np.where(party != party[leader], leader, second[accident])
