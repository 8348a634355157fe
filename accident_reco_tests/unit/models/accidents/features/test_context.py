"""Context columns: what the other parties of an accident are, for every one of its users."""

import numpy as np
import pytest

from accident_reco.models.accidents.features.context import build_accident_context, classify_vehicles
from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS, KINDS


def _context(user_accident, user_vehicle, catu, vehicle_accident, catv, n, **users):
    arrays = {name: np.asarray(values) for name, values in {"catu": catu, **users}.items()}
    return build_accident_context(
        np.asarray(user_accident, dtype=np.int64),
        np.asarray(user_vehicle, dtype=np.int64),
        arrays,
        np.asarray(vehicle_accident, dtype=np.int64),
        {"catv": np.asarray(catv, dtype=np.int64)},
        n,
    )


def test_a_car_a_motorcycle_and_a_parked_lorry():
    """A lorry nobody sits in is a party; the pedestrian's own vehicle is the one that hit them."""
    got = _context(
        [0, 0, 0, 0],
        [0, 0, 1, 1],
        [1, 2, 1, 3],
        [0, 0, 0],
        [7, 33, 14],
        1,
        sexe=[1, 2, -1, 2],
        an_nais=[1980, 2000, -1, 1950],
        secu1=[1, 0, 2, 0],
    )
    assert tuple(got) == CONTEXT_COLUMNS
    assert all(column.dtype == np.int32 for column in got.values())
    assert got["nb_users"].tolist() == [4] * 4
    assert got["nb_vehicles"].tolist() == [3] * 4
    assert got["nb_pedestrians"].tolist() == [1] * 4
    assert got["nb_occupants"].tolist() == [2, 2, 1, 1]
    assert (got["nb_two_wheeled"][0], got["nb_light"][0], got["nb_heavy"][0]) == (1, 1, 1)
    assert {KINDS[kind] for kind in got["other_kind"]} == {"heavy goods vehicle"}
    assert got["driver_an_nais"].tolist() == [1980, 1980, -1, -1]
    assert got["other_an_nais"].tolist() == [-1, -1, 1980, -1]
    assert got["nb_unknown_users"].tolist() == [1] * 4
    assert got["others_vulnerable"].tolist() == [2, 2, 1, 1]
    assert got["others_riding"].tolist() == [1, 1, 0, 1]
    assert got["others_cycling"].tolist() == [0] * 4
    assert got["others_in_cars"].tolist() == [1, 1, 2, 2]
    assert got["others_unprotected"].tolist() == [1, 0, 1, 1]
    assert got["vehicle_unprotected"].tolist() == [1, 0, 0, 0]


def test_alone_on_the_road():
    """One car, one driver: no other party, and no person stands in for one."""
    got = _context([0], [0], [1], [0], [7], 1, sexe=[1], an_nais=[1990])
    assert got["other_kind"].tolist() == [0]
    assert got["other_an_nais"].tolist() == [-1]
    assert got["driver_an_nais"].tolist() == [1990]


def test_pedestrian_without_a_vehicle():
    """A user whose vehicle is not known sees every vehicle as another party, and the occupants are unknown."""
    got = _context([0, 0], [-1, 0], [3, 1], [0], [7], 1)
    assert got["nb_occupants"].tolist() == [-1, 1]
    assert got["other_kind"].tolist() == [KINDS.index("car"), 0]
    assert got["nb_unknown_users"].tolist() == [-1, -1]


def test_unheard_of_vehicle_codes_are_other():
    """-1, 0, 99 and codes of a future year are "other", never an index error."""
    assert classify_vehicles(np.array([-1, 0, 99, 100, 4711, 7])).tolist() == [1, 1, 1, 1, 1, KINDS.index("car")]


def test_many_accidents_at_once_equal_each_alone():
    """The yearly merge and a request must see the same columns: batch result == accident by accident."""
    rng = np.random.default_rng(0)
    n = 60
    vehicle_accident = np.sort(rng.integers(0, n, 110))
    catv = rng.choice([1, 2, 7, 10, 14, 33, 37, 50, -1], 110)
    user_vehicle = rng.integers(0, 110, 200)
    user_accident = vehicle_accident[user_vehicle]
    lost = rng.random(200) < 0.05
    user_vehicle = np.where(lost, -1, user_vehicle)
    users = {
        "catu": rng.integers(1, 4, 200),
        "sexe": rng.choice([-1, 1, 2], 200),
        "an_nais": rng.choice([-1, 1950, 1999], 200),
        "secu1": rng.choice([-1, 0, 1, 8], 200),
    }
    whole = build_accident_context(user_accident, user_vehicle, users, vehicle_accident, {"catv": catv}, n)
    for accident in range(n):
        u, v = np.flatnonzero(user_accident == accident), np.flatnonzero(vehicle_accident == accident)
        position = {int(old): new for new, old in enumerate(v)} | {-1: -1}
        alone = build_accident_context(
            np.zeros(len(u), dtype=np.int64),
            np.array([position[int(i)] for i in user_vehicle[u]], dtype=np.int64),
            {name: column[u] for name, column in users.items()},
            np.zeros(len(v), dtype=np.int64),
            {"catv": catv[v]},
            1,
        )
        for name in CONTEXT_COLUMNS:
            assert alone[name].tolist() == whole[name][u].tolist(), (accident, name)


@pytest.mark.parametrize("n_users", [0, 1])
def test_no_vehicles_at_all(n_users):
    """A record that names no vehicle still gets its columns."""
    got = _context([0] * n_users, [-1] * n_users, [3] * n_users, [], [], 1)
    assert [len(column) for column in got.values()] == [n_users] * len(CONTEXT_COLUMNS)
    assert got["nb_vehicles"].tolist() == [0] * n_users
