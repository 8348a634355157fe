"""Writes a drawn year as the publisher would have: names, headers, separators and quirks of its era."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from accident_reco.models.accidents.sample.cells import chosen, codes, csv_text, decimals, grouped, integers, padded
from accident_reco.models.accidents.sample.draw import World, pick

_STREETS = ["N/A", "RUE DE LA RÉPUBLIQUE", "AVENUE JEAN JAURÈS", "D438", "BD PÉRIPHÉRIQUE", "ROUTE DE L'ÉGLISE", "A86",
            "PLACE DU MARCHÉ", "RN 104", "CHEMIN DES TILLEULS"]  # fmt: skip
_LETTERS = [f"{letter}01" for letter in "ABCDEFGHIJKLMNOP"]
Column = NDArray[np.int64]


def file_names(year: int) -> dict[str, str]:
    """The publisher's file names, which changed over the years (`carcteristiques` is theirs)."""
    if year <= 2016:
        return {name: f"{name}_{year}.csv" for name in ("caracteristiques", "lieux", "vehicules", "usagers")}
    first = "caracteristiques" if year <= 2020 else "carcteristiques" if year <= 2022 else "caract"
    stems = {"caracteristiques": first, "lieux": "lieux", "vehicules": "vehicules", "usagers": "usagers"}
    return {name: f"{stem}-{year}.csv" for name, stem in stems.items()}


def write_year(world: World, seed: int) -> dict[str, bytes]:
    """The four files of the world, by table name."""
    rng = np.random.default_rng([seed, world.year, 1])
    numbers = world.year * 10**8 + 1 + np.arange(len(world.departments))
    letters = _rank(world.vehicle_accident)
    places = _places(rng, world)
    modern = world.year >= 2019
    tables = {
        "caracteristiques": _caract(rng, world, numbers) if modern else _caract_old(rng, world, numbers),
        "lieux": places_text(rng, places, numbers, modern),
        "vehicules": _vehicles(world, numbers, letters) if modern else _vehicles_old(world, numbers, letters),
        "usagers": _users(rng, world, numbers, letters) if modern else _users_old(rng, world, numbers, letters),
    }
    if modern:
        return {name: csv_text(table, ";", True, "\n", False).encode() for name, table in tables.items()}
    # The file of 2009 is separated by tabs; from 2018 on there are heads with CRLF.
    newline = "\r\n" if world.year == 2018 else "\n"
    return {
        name: csv_text(
            table, "\t" if world.year == 2009 and name == "caracteristiques" else ",", False, newline, True
        ).encode("latin-1")
        for name, table in tables.items()
    }


def _rank(group: Column) -> Column:
    """Position within a sorted group."""
    starts = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    return np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))


def _places(rng: np.random.Generator, world: World) -> dict[str, Column]:
    """One row per accident and, at more than half of the crossings, a row of the lesser road, before or after it."""
    road = {name: world.accidents[name] for name in ("catr", "circ", "nbv", "vosp", "prof", "plan", "surf", "infra",
                                                     "situ", "vma")}  # fmt: skip
    road["accident"] = np.arange(len(world.departments))
    crossing = np.flatnonzero((world.accidents["int"] > 1) & (rng.random(len(world.departments)) < 0.6))
    lesser = {name: column[crossing].copy() for name, column in road.items()}
    lesser["catr"] = np.maximum(lesser["catr"], 4)
    lesser["vma"] = np.where(lesser["vma"] > 0, np.minimum(lesser["vma"], 50), -1)
    both = {name: np.concatenate([road[name], lesser[name]]) for name in road}
    order = np.lexsort((rng.random(len(both["accident"])), both["accident"]))
    return {name: column[order] for name, column in both.items()}


def _caract(rng: np.random.Generator, world: World, numbers: Column) -> dict[str, pa.Array]:
    a, count = world.accidents, len(numbers)
    swap = rng.random(count) < 2e-4
    lat = np.where(swap, world.longitude, world.latitude)
    long = np.where(swap, world.latitude, world.longitude)
    dep = pa.array(world.departments, pa.string())
    return {
        "Accident_Id" if world.year == 2022 else "Num_Acc": integers(numbers),
        "jour": codes(a["jour"]),
        "mois": codes(a["mois"], width=2),
        "an": codes(np.full(count, world.year)),
        "hrmn": pc.binary_join_element_wise(padded(a["hrmn"] // 100, 2), padded(a["hrmn"] % 100, 2), ":"),
        "lum": codes(a["lum"]),
        "dep": dep,
        "com": _commune(rng, dep, count),
        "agg": codes(a["agg"]),
        "int": codes(a["int"]),
        "atm": codes(a["atm"]),
        "col": codes(a["col"]),
        "adr": chosen(_STREETS, rng.integers(0, len(_STREETS), count)),
        "lat": decimals(lat),
        "long": decimals(long),
    }


def _commune(rng: np.random.Generator, dep: pa.Array, count: int) -> pa.Array:
    local = rng.integers(1, 90, count)
    three = pc.greater(pc.utf8_length(dep), 2)
    return pc.binary_join_element_wise(dep, pc.if_else(three, padded(local, 2), padded(local, 3)), "")


def _caract_old(rng: np.random.Generator, world: World, numbers: Column) -> dict[str, pa.Array]:
    a, count = world.accidents, len(numbers)
    overseas = np.char.str_len(world.departments.astype(str)) == 3
    letter = {"971": "A", "972": "A", "973": "G", "974": "R", "976": "Y"}
    old = {"2A": "201", "2B": "202"}
    placed = rng.random(count) < 0.45
    lat, long = (np.round(x * 1e5).astype(np.int64) for x in (world.latitude, world.longitude))
    text = [(old.get(d) or (d if far else str(int(d) * 10)), letter.get(d, "M")) for d, far in zip(
        world.departments.tolist(), overseas.tolist(), strict=True)]  # fmt: skip
    blank = pa.array(~placed)
    return {
        "Num_Acc": integers(numbers),
        "an": codes(np.full(count, world.year - 2000)),
        "mois": codes(a["mois"]),
        "jour": codes(a["jour"]),
        "hrmn": integers(a["hrmn"]),
        **{name: codes(a[name], unknown="") for name in ("lum", "agg", "int", "atm", "col")},
        "com": padded(np.where(overseas, 100, 0) + rng.integers(1, 90, count), 3),
        "adr": chosen(["", *_STREETS[1:]], rng.integers(0, len(_STREETS), count)),
        "gps": pc.if_else(blank, "", pa.array([pair[1] for pair in text])),
        "lat": pc.if_else(blank, "", integers(lat)),
        "long": pc.if_else(blank, "", integers(long)),
        "dep": pa.array([pair[0] for pair in text]),
    }


def places_text(
    rng: np.random.Generator, places: dict[str, Column], numbers: Column, modern: bool
) -> dict[str, pa.Array]:
    """The rows of lieux; until 2018 there is one per accident, no speed limit and widths are in decimetres."""
    if not modern:
        keep = _rank(places["accident"]) == 0
        places = {name: column[keep] for name, column in places.items()}
    count = len(places["accident"])
    nothing = " -1" if modern else ""
    far = rng.random(count)
    vma = np.where((places["vma"] > 0) & (rng.random(count) < 1e-4), places["vma"] * 10, places["vma"])
    width = np.where(rng.random(count) < 0.66, -1, np.maximum(places["nbv"], 1) * 35)
    metres = np.where((width > 0) & (width % 10 == 0), 0, 1)
    wide = pc.if_else(pa.array(metres == 0), codes(np.maximum(width, 0) // 10), pc.binary_join_element_wise(
        codes(np.maximum(width, 0) // 10), codes(np.maximum(width, 0) % 10), ","))  # fmt: skip
    distance = rng.integers(0, 2500, count)
    pr1 = pc.if_else(pa.array((distance > 999) & modern), pc.binary_join_element_wise(
        codes(distance // 1000), padded(distance % 1000, 3), "\u00a0"), integers(distance))  # fmt: skip
    no_post = pa.array(far < 0.37)
    columns: dict[str, pa.Array] = {
        "Num_Acc": integers(numbers[places["accident"]]),
        "catr": codes(places["catr"]),
        "voie": pc.if_else(pa.array(far < 0.15), "N/A" if modern else "", integers(rng.integers(1, 999, count))),
        "v1": chosen(["0", nothing, "2"], pick(rng, {0: 0.77, 1: 0.22, 2: 0.01}, count)),
        "v2": chosen(["N/A" if modern else "", "D", "A"], pick(rng, {0: 0.9, 1: 0.07, 2: 0.03}, count)),
        "circ": codes(places["circ"], nothing),
        "nbv": codes(places["nbv"], nothing),
        "vosp": codes(places["vosp"], nothing),
        "prof": codes(places["prof"], nothing),
        "pr": pc.if_else(no_post, nothing, integers(rng.integers(0, 120, count))),
        "pr1": pc.if_else(no_post, nothing, pr1),
        "plan": codes(places["plan"], nothing),
        "lartpc": chosen(
            ["", "2,5", "3"] if modern else ["", "025", "030"], pick(rng, {0: 0.99, 1: 0.005, 2: 0.005}, count)
        ),
        "larrout": pc.if_else(pa.array(width < 0), nothing, wide) if modern else codes(width, "", 3),
        "surf": codes(places["surf"], nothing),
        "infra": codes(places["infra"], nothing),
        "situ": codes(places["situ"], nothing),
        "vma": codes(vma),
        "env1": chosen(["00", "99", "03"], pick(rng, {0: 0.88, 1: 0.08, 2: 0.04}, count)),
    }
    if modern:
        columns.pop("env1")
        return columns
    order = ("Num_Acc", "catr", "voie", "v1", "v2", "circ", "nbv", "pr", "pr1", "vosp", "prof", "plan", "lartpc",
             "larrout", "surf", "infra", "situ", "env1")  # fmt: skip
    return {name: columns[name] for name in order}


def _vehicles(world: World, numbers: Column, letters: Column) -> dict[str, pa.Array]:
    v = world.vehicles
    return {
        "Num_Acc": integers(numbers[world.vehicle_accident]),
        "id_vehicule": grouped(_vehicle_ids(world)),
        "num_veh": chosen(_LETTERS, letters),
        **{name: codes(v[name]) for name in ("senc", "catv", "obs", "obsm", "choc", "manv", "motor")},
        "occutc": codes(v["occutc"], ""),
    }


def _vehicle_ids(world: World) -> Column:
    return 155_000_000 - 1_000_000 * (2024 - world.year) + np.arange(len(world.vehicle_accident))


def _vehicles_old(world: World, numbers: Column, letters: Column) -> dict[str, pa.Array]:
    v = world.vehicles
    # Electric bicycles and personal devices had no category of their own.
    catv = np.where(v["catv"] == 80, 1, np.where(np.isin(v["catv"], (41, 42, 43, 50, 60)), 99, v["catv"]))
    wide = 2 if world.year == 2018 else 0
    return {
        "Num_Acc": integers(numbers[world.vehicle_accident]),
        "senc": codes(np.where(v["senc"] == 3, 0, v["senc"])),
        "catv": codes(np.where(catv == 0, 99, catv), width=2),
        "occutc": codes(np.maximum(v["occutc"], 0), width=3 if wide else 0),
        "obs": codes(np.where(v["obs"] == 17, 16, v["obs"]), "", wide),
        "obsm": codes(v["obsm"], ""),
        "choc": codes(v["choc"], ""),
        "manv": codes(np.where(v["manv"] > 24, 0, v["manv"]), "", wide),
        "num_veh": chosen(_LETTERS, letters),
    }


def _users(rng: np.random.Generator, world: World, numbers: Column, letters: Column) -> dict[str, pa.Array]:
    u, count = world.users, len(world.user_accident)
    actp = np.where((u["actp"] > 0) & (rng.random(count) < 3e-3), 7, u["actp"])
    columns = {
        "Num_Acc": integers(numbers[world.user_accident]),
        "id_usager": grouped(203_000_000 - 1_000_000 * (2024 - world.year) + np.arange(count)),
        "id_vehicule": grouped(_vehicle_ids(world)[world.user_vehicle]),
        "num_veh": chosen(_LETTERS, letters[world.user_vehicle]),
        **{name: codes(u[name]) for name in ("place", "catu", "grav", "sexe")},
        "an_nais": codes(u["an_nais"], ""),
        **{name: codes(u[name]) for name in ("trajet", "secu1", "secu2", "secu3", "locp")},
        "actp": codes(actp, extra={10: "A", 11: "B"}),
        "etatp": codes(u["etatp"]),
    }
    if world.year < 2021:
        columns.pop("id_usager")
    return columns


def _users_old(rng: np.random.Generator, world: World, numbers: Column, letters: Column) -> dict[str, pa.Array]:
    u, count = world.users, len(world.user_accident)
    kind = np.where(u["catu"] == 3, 0, np.where(np.isin(world.vehicles["catv"][world.user_vehicle], (7, 10)), 1, 2))
    secu = np.select([np.isin(u["secu1"], (1, 2, 3, 4, 9)), u["secu1"] == 0, u["secu1"] == 8],
                     [u["secu1"] * 10 + 1, kind * 10 + 2, np.maximum(kind, 1) * 10 + 3], 0)  # fmt: skip
    return {
        "Num_Acc": integers(numbers[world.user_accident]),
        "place": codes(np.where(u["catu"] == 3, -1, u["place"]), ""),
        "catu": codes(np.where((u["catu"] == 3) & (rng.random(count) < 0.01), 4, u["catu"])),
        "grav": codes(u["grav"]),
        "sexe": codes(u["sexe"], ""),
        "trajet": codes(np.maximum(u["trajet"], 0)),
        "secu": codes(np.where(u["catu"] == 3, 0, secu)),
        "locp": codes(np.where(u["locp"] == 9, 0, np.maximum(u["locp"], 0))),
        "actp": codes(np.where(u["actp"] > 9, 0, np.maximum(u["actp"], 0))),
        "etatp": codes(np.maximum(u["etatp"], 0)),
        "an_nais": codes(u["an_nais"], ""),
        "num_veh": chosen(_LETTERS, letters[world.user_vehicle]),
    }
