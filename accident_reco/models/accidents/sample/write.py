"""Writes a drawn year in the publisher's format: names, headers, separators and irregularities of its era."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from accident_reco.models.accidents.sample.cells import (
    format_codes,
    format_csv,
    format_degrees,
    format_ids,
    format_integers,
    format_padded,
    select_texts,
)
from accident_reco.models.accidents.sample.draw import SampleYear, draw_codes

_STREETS = [
    "N/A",
    "RUE DE LA RÉPUBLIQUE",
    "AVENUE JEAN JAURÈS",
    "D438",
    "BD PÉRIPHÉRIQUE",
    "ROUTE DE L'ÉGLISE",
    "A86",
    "PLACE DU MARCHÉ",
    "RN 104",
    "CHEMIN DES TILLEULS",
]
_LETTERS = [f"{letter}01" for letter in "ABCDEFGHIJKLMNOP"]
Column = NDArray[np.int64]


def get_file_names(year: int) -> dict[str, str]:
    """The publisher's file names by table, which changed over the years (`carcteristiques` is one of them)."""
    if year <= 2016:
        return {name: f"{name}_{year}.csv" for name in ("caracteristiques", "lieux", "vehicules", "usagers")}
    first = "caracteristiques" if year <= 2020 else "carcteristiques" if year <= 2022 else "caract"
    stems = {"caracteristiques": first, "lieux": "lieux", "vehicules": "vehicules", "usagers": "usagers"}
    return {name: f"{stem}-{year}.csv" for name, stem in stems.items()}


def write_year(world: SampleYear, seed: int) -> dict[str, bytes]:
    """The four files of a drawn year, by table name."""
    rng = np.random.default_rng([seed, world.year, 1])
    numbers = world.year * 10**8 + 1 + np.arange(len(world.departments))
    letters = _rank_in_group(world.vehicle_accident)
    places = _draw_roads(rng, world)
    modern = world.year >= 2019
    tables = {
        "caracteristiques": _format_accidents(rng, world, numbers)
        if modern
        else _format_accidents_until_2018(rng, world, numbers),
        "lieux": format_roads(rng, places, numbers, modern),
        "vehicules": _format_vehicles(world, numbers, letters)
        if modern
        else _format_vehicles_until_2018(world, numbers, letters),
        "usagers": _format_users(rng, world, numbers, letters)
        if modern
        else _format_users_until_2018(rng, world, numbers, letters),
    }
    if modern:
        return {name: format_csv(table, ";", True, "\n", False).encode() for name, table in tables.items()}
    # The file of 2009 is separated by tabs; from 2018 on there are heads with CRLF.
    newline = "\r\n" if world.year == 2018 else "\n"
    return {
        name: format_csv(
            table, "\t" if world.year == 2009 and name == "caracteristiques" else ",", False, newline, True
        ).encode("latin-1")
        for name, table in tables.items()
    }


def _rank_in_group(group: Column) -> Column:
    """Position within a sorted group."""
    starts = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    return np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))


def _draw_roads(rng: np.random.Generator, world: SampleYear) -> dict[str, Column]:
    """One row per accident and, at most intersections, a row of the minor road, before or after it."""
    road = {
        name: world.accidents[name]
        for name in ("catr", "circ", "nbv", "vosp", "prof", "plan", "surf", "infra", "situ", "vma")
    }
    road["accident"] = np.arange(len(world.departments))
    crossing = np.flatnonzero((world.accidents["int"] > 1) & (rng.random(len(world.departments)) < 0.6))
    minor = {name: column[crossing].copy() for name, column in road.items()}
    minor["catr"] = np.maximum(minor["catr"], 4)
    minor["vma"] = np.where(minor["vma"] > 0, np.minimum(minor["vma"], 50), -1)
    both = {name: np.concatenate([road[name], minor[name]]) for name in road}
    order = np.lexsort((rng.random(len(both["accident"])), both["accident"]))
    return {name: column[order] for name, column in both.items()}


def _format_accidents(rng: np.random.Generator, world: SampleYear, numbers: Column) -> dict[str, pa.Array]:
    a, count = world.accidents, len(numbers)
    swap = rng.random(count) < 2e-4
    lat = np.where(swap, world.longitude, world.latitude)
    long = np.where(swap, world.latitude, world.longitude)
    dep = pa.array(world.departments, pa.string())
    return {
        "Accident_Id" if world.year == 2022 else "Num_Acc": format_integers(numbers),
        "jour": format_codes(a["jour"]),
        "mois": format_codes(a["mois"], width=2),
        "an": format_codes(np.full(count, world.year)),
        "hrmn": pc.binary_join_element_wise(format_padded(a["hrmn"] // 100, 2), format_padded(a["hrmn"] % 100, 2), ":"),
        "lum": format_codes(a["lum"]),
        "dep": dep,
        "com": _draw_communes(rng, dep, count),
        "agg": format_codes(a["agg"]),
        "int": format_codes(a["int"]),
        "atm": format_codes(a["atm"]),
        "col": format_codes(a["col"]),
        "adr": select_texts(_STREETS, rng.integers(0, len(_STREETS), count)),
        "lat": format_degrees(lat),
        "long": format_degrees(long),
    }


def _draw_communes(rng: np.random.Generator, dep: pa.Array, count: int) -> pa.Array:
    local = rng.integers(1, 90, count)
    three = pc.greater(pc.utf8_length(dep), 2)
    return pc.binary_join_element_wise(dep, pc.if_else(three, format_padded(local, 2), format_padded(local, 3)), "")


def _format_accidents_until_2018(rng: np.random.Generator, world: SampleYear, numbers: Column) -> dict[str, pa.Array]:
    a, count = world.accidents, len(numbers)
    overseas = np.char.str_len(world.departments.astype(str)) == 3
    letter = {"971": "A", "972": "A", "973": "G", "974": "R", "976": "Y"}
    old = {"2A": "201", "2B": "202"}
    placed = rng.random(count) < 0.45
    lat, long = (np.round(x * 1e5).astype(np.int64) for x in (world.latitude, world.longitude))
    text = [
        (old.get(d) or (d if far else str(int(d) * 10)), letter.get(d, "M"))
        for d, far in zip(world.departments.tolist(), overseas.tolist(), strict=True)
    ]
    blank = pa.array(~placed)
    return {
        "Num_Acc": format_integers(numbers),
        "an": format_codes(np.full(count, world.year - 2000)),
        "mois": format_codes(a["mois"]),
        "jour": format_codes(a["jour"]),
        "hrmn": format_integers(a["hrmn"]),
        **{name: format_codes(a[name], unknown="") for name in ("lum", "agg", "int", "atm", "col")},
        "com": format_padded(np.where(overseas, 100, 0) + rng.integers(1, 90, count), 3),
        "adr": select_texts(["", *_STREETS[1:]], rng.integers(0, len(_STREETS), count)),
        "gps": pc.if_else(blank, "", pa.array([pair[1] for pair in text])),
        "lat": pc.if_else(blank, "", format_integers(lat)),
        "long": pc.if_else(blank, "", format_integers(long)),
        "dep": pa.array([pair[0] for pair in text]),
    }


def format_roads(
    rng: np.random.Generator, places: dict[str, Column], numbers: Column, modern: bool
) -> dict[str, pa.Array]:
    """The rows of lieux; until 2018 there is one per accident, no speed limit and widths are in decimetres."""
    if not modern:
        keep = _rank_in_group(places["accident"]) == 0
        places = {name: column[keep] for name, column in places.items()}
    count = len(places["accident"])
    nothing = " -1" if modern else ""
    far = rng.random(count)
    vma = np.where((places["vma"] > 0) & (rng.random(count) < 1e-4), places["vma"] * 10, places["vma"])
    width = np.where(rng.random(count) < 0.66, -1, np.maximum(places["nbv"], 1) * 35)
    metres = np.where((width > 0) & (width % 10 == 0), 0, 1)
    wide = pc.if_else(
        pa.array(metres == 0),
        format_codes(np.maximum(width, 0) // 10),
        pc.binary_join_element_wise(
            format_codes(np.maximum(width, 0) // 10), format_codes(np.maximum(width, 0) % 10), ","
        ),
    )
    distance = rng.integers(0, 2500, count)
    pr1 = pc.if_else(
        pa.array((distance > 999) & modern),
        pc.binary_join_element_wise(format_codes(distance // 1000), format_padded(distance % 1000, 3), "\u00a0"),
        format_integers(distance),
    )
    no_post = pa.array(far < 0.37)
    columns: dict[str, pa.Array] = {
        "Num_Acc": format_integers(numbers[places["accident"]]),
        "catr": format_codes(places["catr"]),
        "voie": pc.if_else(pa.array(far < 0.15), "N/A" if modern else "", format_integers(rng.integers(1, 999, count))),
        "v1": select_texts(["0", nothing, "2"], draw_codes(rng, {0: 0.77, 1: 0.22, 2: 0.01}, count)),
        "v2": select_texts(["N/A" if modern else "", "D", "A"], draw_codes(rng, {0: 0.9, 1: 0.07, 2: 0.03}, count)),
        "circ": format_codes(places["circ"], nothing),
        "nbv": format_codes(places["nbv"], nothing),
        "vosp": format_codes(places["vosp"], nothing),
        "prof": format_codes(places["prof"], nothing),
        "pr": pc.if_else(no_post, nothing, format_integers(rng.integers(0, 120, count))),
        "pr1": pc.if_else(no_post, nothing, pr1),
        "plan": format_codes(places["plan"], nothing),
        "lartpc": select_texts(
            ["", "2,5", "3"] if modern else ["", "025", "030"], draw_codes(rng, {0: 0.99, 1: 0.005, 2: 0.005}, count)
        ),
        "larrout": pc.if_else(pa.array(width < 0), nothing, wide) if modern else format_codes(width, "", 3),
        "surf": format_codes(places["surf"], nothing),
        "infra": format_codes(places["infra"], nothing),
        "situ": format_codes(places["situ"], nothing),
        "vma": format_codes(vma),
        "env1": select_texts(["00", "99", "03"], draw_codes(rng, {0: 0.88, 1: 0.08, 2: 0.04}, count)),
    }
    if modern:
        columns.pop("env1")
        return columns
    order = (
        "Num_Acc",
        "catr",
        "voie",
        "v1",
        "v2",
        "circ",
        "nbv",
        "pr",
        "pr1",
        "vosp",
        "prof",
        "plan",
        "lartpc",
        "larrout",
        "surf",
        "infra",
        "situ",
        "env1",
    )
    return {name: columns[name] for name in order}


def _format_vehicles(world: SampleYear, numbers: Column, letters: Column) -> dict[str, pa.Array]:
    v = world.vehicles
    return {
        "Num_Acc": format_integers(numbers[world.vehicle_accident]),
        "id_vehicule": format_ids(_number_vehicles(world)),
        "num_veh": select_texts(_LETTERS, letters),
        **{name: format_codes(v[name]) for name in ("senc", "catv", "obs", "obsm", "choc", "manv", "motor")},
        "occutc": format_codes(v["occutc"], ""),
    }


def _number_vehicles(world: SampleYear) -> Column:
    return 155_000_000 - 1_000_000 * (2024 - world.year) + np.arange(len(world.vehicle_accident))


def _format_vehicles_until_2018(world: SampleYear, numbers: Column, letters: Column) -> dict[str, pa.Array]:
    v = world.vehicles
    # Electric bicycles and personal devices had no category of their own.
    catv = np.where(v["catv"] == 80, 1, np.where(np.isin(v["catv"], (41, 42, 43, 50, 60)), 99, v["catv"]))
    wide = 2 if world.year == 2018 else 0
    return {
        "Num_Acc": format_integers(numbers[world.vehicle_accident]),
        "senc": format_codes(np.where(v["senc"] == 3, 0, v["senc"])),
        "catv": format_codes(np.where(catv == 0, 99, catv), width=2),
        "occutc": format_codes(np.maximum(v["occutc"], 0), width=3 if wide else 0),
        "obs": format_codes(np.where(v["obs"] == 17, 16, v["obs"]), "", wide),
        "obsm": format_codes(v["obsm"], ""),
        "choc": format_codes(v["choc"], ""),
        "manv": format_codes(np.where(v["manv"] > 24, 0, v["manv"]), "", wide),
        "num_veh": select_texts(_LETTERS, letters),
    }


def _format_users(rng: np.random.Generator, world: SampleYear, numbers: Column, letters: Column) -> dict[str, pa.Array]:
    u, count = world.users, len(world.user_accident)
    actp = np.where((u["actp"] > 0) & (rng.random(count) < 3e-3), 7, u["actp"])
    columns = {
        "Num_Acc": format_integers(numbers[world.user_accident]),
        "id_usager": format_ids(203_000_000 - 1_000_000 * (2024 - world.year) + np.arange(count)),
        "id_vehicule": format_ids(_number_vehicles(world)[world.user_vehicle]),
        "num_veh": select_texts(_LETTERS, letters[world.user_vehicle]),
        **{name: format_codes(u[name]) for name in ("place", "catu", "grav", "sexe")},
        "an_nais": format_codes(u["an_nais"], ""),
        **{name: format_codes(u[name]) for name in ("trajet", "secu1", "secu2", "secu3", "locp")},
        "actp": format_codes(actp, extra={10: "A", 11: "B"}),
        "etatp": format_codes(u["etatp"]),
    }
    if world.year < 2021:
        columns.pop("id_usager")
    return columns


def _format_users_until_2018(
    rng: np.random.Generator, world: SampleYear, numbers: Column, letters: Column
) -> dict[str, pa.Array]:
    u, count = world.users, len(world.user_accident)
    kind = np.where(u["catu"] == 3, 0, np.where(np.isin(world.vehicles["catv"][world.user_vehicle], (7, 10)), 1, 2))
    secu = np.select(
        [np.isin(u["secu1"], (1, 2, 3, 4, 9)), u["secu1"] == 0, u["secu1"] == 8],
        [u["secu1"] * 10 + 1, kind * 10 + 2, np.maximum(kind, 1) * 10 + 3],
        0,
    )
    return {
        "Num_Acc": format_integers(numbers[world.user_accident]),
        "place": format_codes(np.where(u["catu"] == 3, -1, u["place"]), ""),
        "catu": format_codes(np.where((u["catu"] == 3) & (rng.random(count) < 0.01), 4, u["catu"])),
        "grav": format_codes(u["grav"]),
        "sexe": format_codes(u["sexe"], ""),
        "trajet": format_codes(np.maximum(u["trajet"], 0)),
        "secu": format_codes(np.where(u["catu"] == 3, 0, secu)),
        "locp": format_codes(np.where(u["locp"] == 9, 0, np.maximum(u["locp"], 0))),
        "actp": format_codes(np.where(u["actp"] > 9, 0, np.maximum(u["actp"], 0))),
        "etatp": format_codes(np.maximum(u["etatp"], 0)),
        "an_nais": format_codes(u["an_nais"], ""),
        "num_veh": select_texts(_LETTERS, letters[world.user_vehicle]),
    }
