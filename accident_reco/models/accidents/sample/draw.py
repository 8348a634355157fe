"""Draws a sample year as columns: circumstances, vehicles, road users, severities. File formats are in `write`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.data.coordinates import BOXES
from accident_reco.models.accidents.features.context import build_accident_context
from accident_reco.models.accidents.sample import marginals as m
from accident_reco.models.accidents.sample.severity import compute_propensity, draw_severity

Column = NDArray[np.int64]
USERS_PER_ACCIDENT = 2.26
PUBLIC_TRANSPORT = (37, 38, 40)
# catv driven by the first parties of `PARTIES`; every other vehicle is driven by the first, as a car.
DRIVEN_BY = (
    (),
    (31, 32, 33, 34, 35, 36, 41, 42, 43),
    (2, 30),
    (1, 80),
    (50, 60),
    (10, 13, 14, 15, 16, 17, 20, 21, *PUBLIC_TRANSPORT),
)


@dataclass
class SampleYear:
    """A drawn year. Vehicles and users refer to their accident by position, users to their vehicle as well."""

    year: int
    accidents: dict[str, Column]
    departments: NDArray[np.object_]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    vehicles: dict[str, Column]
    vehicle_accident: Column
    users: dict[str, Column]
    user_accident: Column
    user_vehicle: Column
    fled: NDArray[np.bool_]


def draw_codes(rng: np.random.Generator, weights: Mapping[int, float], size: int) -> Column:
    """Codes drawn by weight."""
    codes = np.fromiter(weights.keys(), dtype=np.int64)
    cumulative = np.cumsum(np.fromiter(weights.values(), dtype=np.float64))
    return codes[np.searchsorted(cumulative / cumulative[-1], rng.random(size), side="right").clip(max=len(codes) - 1)]


def draw_codes_by_group(
    rng: np.random.Generator, tables: Mapping[int, m.Weights] | tuple[m.Weights, ...], group: Column
) -> Column:
    """Codes drawn by the weights of each row's group."""
    out = np.empty(len(group), dtype=np.int64)
    for key in np.unique(group).tolist():
        rows = np.flatnonzero(group == key)
        out[rows] = draw_codes(rng, tables[key], len(rows))
    return out


def draw_year(year: int, people: int, seed: int) -> SampleYear:
    """A year with about `people` road users; the same arguments give the same year."""
    rng = np.random.default_rng([seed, year])
    count = max(1, round(people / USERS_PER_ACCIDENT))
    accidents, departments = _draw_circumstances(rng, year, count)
    agg = accidents["agg"]
    walked = rng.random(count) < np.where(agg == 1, m.PEDESTRIAN_ACCIDENT[1], m.PEDESTRIAN_ACCIDENT[2])
    vehicles_in = np.where(
        walked, draw_codes(rng, m.VEHICLES_WITH_PEDESTRIAN, count), draw_codes_by_group(rng, m.VEHICLES, agg)
    )
    kind = np.where(walked, 2, np.where(vehicles_in == 1, 0, 1))
    accidents["col"] = draw_codes_by_group(rng, {a * 10 + k: w for (a, k), w in m.COLLISIONS.items()}, agg * 10 + kind)
    several = (vehicles_in > 2) & ~walked
    accidents["col"][several] = draw_codes(rng, m.PILE_UP, int(several.sum()))

    vehicle_accident = np.repeat(np.arange(count), vehicles_in)
    vehicles = _draw_vehicles(rng, agg[vehicle_accident], kind[vehicle_accident])
    user_vehicle, catu, party = _draw_road_users(rng, vehicles, vehicle_accident, walked)
    user_accident = vehicle_accident[user_vehicle]
    order = np.lexsort((catu, user_vehicle, user_accident))
    user_vehicle, catu, party, user_accident = (a[order] for a in (user_vehicle, catu, party, user_accident))
    users, fled = _draw_user_columns(rng, year, catu, party)

    context = build_accident_context(user_accident, user_vehicle, users, vehicle_accident, vehicles, count)
    merged = {name: column[user_accident] for name, column in accidents.items()}
    merged.update({name: column[user_vehicle] for name, column in vehicles.items()})
    merged.update({**users, **{name: column.astype(np.int64) for name, column in context.items()}})
    merged["an"] = np.full(len(catu), year)
    latent = compute_propensity(merged, np.where(merged["vma"] > 0, merged["vma"], 50))
    users["grav"] = draw_severity(rng, latent, user_accident, fled, year)
    latitude, longitude = _draw_coordinates(rng, departments)
    return SampleYear(
        year,
        accidents,
        departments,
        latitude,
        longitude,
        vehicles,
        vehicle_accident,
        users,
        user_accident,
        user_vehicle,
        fled,
    )


def _draw_circumstances(
    rng: np.random.Generator, year: int, count: int
) -> tuple[dict[str, Column], NDArray[np.object_]]:
    mois = draw_codes(rng, dict(enumerate(m.MONTHS, 1)), count)
    days = np.array([31, 29 if year % 4 == 0 else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[mois - 1]
    hour = draw_codes(rng, dict(enumerate(m.HOURS)), count)
    minute = np.where(rng.random(count) < 0.7, rng.integers(0, 12, count) * 5, rng.integers(0, 60, count))
    agg = np.where(rng.random(count) < m.RURAL_SHARE, 1, 2)
    parts = m.DEPARTMENTS.split()
    weights = {position: float(weight) for position, weight in enumerate(parts[1::2])}
    departments = np.array(parts[::2], dtype=object)[draw_codes(rng, weights, count)]
    agg[departments == "75"] = 2
    found = {name: draw_codes_by_group(rng, table, agg) for name, table in m.ROADS.items()}
    road = np.where(np.isin(found["catr"], (1, 2, 3)), found["catr"], 0)
    found["vma"] = draw_codes_by_group(rng, {a * 10 + r: w for (a, r), w in m.SPEEDS.items()}, agg * 10 + road)
    found["surf"] = draw_codes_by_group(
        rng, m.SURFACES, np.where(np.isin(found["atm"], tuple(m.SURFACES)), found["atm"], 1)
    )
    found["lum"] = _draw_light(rng, mois, hour + minute / 60, agg)
    found |= {"mois": mois, "jour": rng.integers(1, days + 1), "hrmn": hour * 100 + minute, "agg": agg}
    return found, departments


def _draw_light(rng: np.random.Generator, mois: Column, hour: NDArray[np.float64], agg: Column) -> Column:
    """lum from the hour and the length of the day of the month, street lighting by agg."""
    # Half a day in hours: 4.2 in December, 8 in June, around the sun's noon (13:54 with summer time, 12:54 without).
    half = 6.1 + 1.9 * np.cos((mois - 6.3) / 12 * 2 * np.pi)
    away = np.abs(hour - np.where((mois > 3) & (mois < 11), 13.9, 12.9)) - half
    dark = np.where(
        agg == 2,
        draw_codes(rng, {5: 0.82, 3: 0.13, 4: 0.05}, len(mois)),
        draw_codes(rng, {3: 0.82, 5: 0.13, 4: 0.05}, len(mois)),
    )
    return np.where(away < -0.3, 1, np.where(away < 0.5, 2, dark))


def _draw_vehicles(rng: np.random.Generator, agg: Column, kind: Column) -> dict[str, Column]:
    both = agg * 10 + kind
    catv = draw_codes_by_group(rng, {a * 10 + k: w for (a, k), w in m.KINDS_OF_VEHICLE.items()}, both)
    count = len(catv)
    motor = np.where(rng.random(count) < 0.86, 1, draw_codes(rng, {2: 0.4, 3: 0.3, 0: 0.28, 6: 0.02}, count))
    motor = np.where(np.isin(catv, (1, 60)), 5, np.where(np.isin(catv, (50, 80, 40)), 3, motor))
    public = np.isin(catv, PUBLIC_TRANSPORT)
    return {
        "senc": draw_codes(rng, m.DIRECTIONS, count),
        "catv": catv,
        "obs": draw_codes_by_group(rng, {a * 10 + k: w for (a, k), w in m.FIXED_OBSTACLES.items()}, both),
        "obsm": draw_codes_by_group(rng, m.MOVING_OBSTACLES, kind),
        "choc": draw_codes_by_group(rng, m.IMPACTS, kind),
        "manv": draw_codes_by_group(rng, m.MANOEUVRES, kind),
        "motor": motor,
        "occutc": np.where(public, rng.poisson(9, count), -1),
    }


def _draw_road_users(
    rng: np.random.Generator, vehicles: dict[str, Column], vehicle_accident: Column, walked: NDArray[np.bool_]
) -> tuple[Column, Column, Column]:
    """Vehicle, catu and party (index into PARTIES) of every user: drivers, passengers, pedestrians."""
    catv = vehicles["catv"]
    count = len(catv)
    party_of = np.zeros(100, dtype=np.int64)
    for party, codes in enumerate(DRIVEN_BY):
        party_of[list(codes)] = party
    parked = (vehicles["manv"] == 24) & (rng.random(count) < 0.1)
    first = np.append(True, vehicle_accident[1:] != vehicle_accident[:-1])
    drives = np.flatnonzero(~parked | first)
    seats = np.where(
        np.isin(catv, PUBLIC_TRANSPORT), draw_codes(rng, m.BUS_PASSENGERS, count), draw_codes(rng, m.PASSENGERS, count)
    )
    seats[np.isin(catv, (1, 50, 60, 80))] = 0
    seats = np.where(np.isin(party_of[catv], (1, 2)), np.minimum(seats, 1), seats)
    seats[parked & ~first] = 0
    carried = np.repeat(np.arange(count), seats)
    hit = np.flatnonzero(first & walked[vehicle_accident])
    on_foot = np.repeat(hit, draw_codes(rng, m.PEDESTRIANS, len(hit)))
    vehicle = np.concatenate([drives, carried, on_foot])
    catu = np.repeat(np.array([1, 2, 3]), [len(drives), len(carried), len(on_foot)])
    return vehicle, catu, np.where(catu == 1, party_of[catv[vehicle]], catu + 4)


def _draw_user_columns(
    rng: np.random.Generator, year: int, catu: Column, party: Column
) -> tuple[dict[str, Column], NDArray[np.bool_]]:
    count = len(catu)
    walks = catu == 3
    quantile = rng.random(count)
    age = np.empty(count)
    for position, points in enumerate(m.AGES):
        rows = party == position
        age[rows] = np.interp(quantile[rows], m.AGE_QUANTILES, points)
    fled = (catu == 1) & (rng.random(count) < (m.FLED if year >= 2021 else 0))
    nothing = np.full(count, -1)

    def walker(weights: m.Weights, otherwise: Column) -> Column:
        return np.where(walks, draw_codes(rng, weights, count), otherwise)

    no_locp = np.where(rng.random(count) < 0.5, 0, -1)
    users = {
        "place": np.where(catu == 1, 1, np.where(walks, 10, draw_codes(rng, m.EXTRA_SEATS, count))),
        "catu": catu,
        "sexe": np.where(rng.random(count) < np.array(m.MEN)[party], 1, 2),
        "an_nais": year - np.floor(age).astype(np.int64),
        "trajet": draw_codes_by_group(rng, m.JOURNEYS, party),
        "secu1": draw_codes_by_group(rng, m.EQUIPMENT, party),
        "secu2": draw_codes_by_group(rng, m.SECOND_EQUIPMENT, party),
        "secu3": np.where(rng.random(count) < 0.9, -1, draw_codes(rng, {0: 0.87, 9: 0.1, 8: 0.03}, count)),
        "locp": walker(m.PEDESTRIAN_PLACE, no_locp),
        "actp": walker(m.PEDESTRIAN_ACTION, no_locp),
        "etatp": walker(m.PEDESTRIAN_COMPANY, nothing),
    }
    for name in ("sexe", "an_nais", "trajet", "secu1", "secu2", "secu3"):
        users[name] = np.where(fled, -1, users[name])
    return users, fled


def _draw_coordinates(
    rng: np.random.Generator, departments: NDArray[np.object_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latitudes and longitudes in the right territory, around an arbitrary centre per department."""
    names, inverse = np.unique(departments.astype(str), return_inverse=True)
    places = np.random.default_rng(1)
    centres = []
    for name in sorted(m.DEPARTMENTS.split()[::2]):
        south, north, west, east = BOXES.get(name, (43.5, 49.5, -1.0, 6.5))
        spot = (
            (places.uniform(south, north), places.uniform(west, east))
            if name not in BOXES
            else ((south + north) / 2, (west + east) / 2)
        )
        centres.append((name, *spot))
    by_name = {name: (lat, long) for name, lat, long in centres}
    middle = np.array([by_name[name] for name in names]).reshape(-1, 2)[inverse]
    return (
        middle[:, 0] + rng.normal(0, 0.08, len(departments)).clip(-0.2, 0.2),
        middle[:, 1] + rng.normal(0, 0.08, len(departments)).clip(-0.2, 0.2),
    )
