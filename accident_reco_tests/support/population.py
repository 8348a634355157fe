"""A small synthetic population with a learnable relation, quick enough for unit tests."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

from accident_reco.models.accidents.features.context import build_accident_context
from accident_reco.models.accidents.synthesis.sequential import COLUMNS

PLACES = (
    ("75", "75056", 48.85, 2.35),
    ("59", "59350", 50.63, 3.06),
    ("13", "13055", 43.30, 5.37),
    ("23", "23096", 46.17, 1.87),
)


@cache
def build_population(accidents: int = 1200, seed: int = 0) -> pd.DataFrame:
    """Victims frame with all model columns; two-wheelers, pedestrians, speed and a missing belt raise severity."""
    rng = np.random.default_rng(seed)
    vehicles = rng.integers(1, 3, accidents)
    vehicle_accident = np.repeat(np.arange(accidents), vehicles)
    catv = rng.choice([1, 7, 10, 14, 33], len(vehicle_accident), p=[0.12, 0.55, 0.08, 0.05, 0.2]).astype(np.int16)
    people = rng.integers(1, 3, len(vehicle_accident))
    user_vehicle = np.repeat(np.arange(len(vehicle_accident)), people)
    user_accident = vehicle_accident[user_vehicle]
    n = len(user_vehicle)
    first = np.append(True, np.diff(user_vehicle) != 0)
    walks = ~first & (rng.random(n) < 0.4)
    catu = np.where(first, 1, np.where(walks, 3, 2)).astype(np.int16)
    place = rng.integers(0, len(PLACES), accidents)
    vma = rng.choice([30, 50, 80, 110], accidents, p=[0.2, 0.4, 0.3, 0.1]).astype(np.int16)
    own = catv[user_vehicle]
    belt = np.where(catu == 3, 0, np.where(np.isin(own, (1, 33)), 2, rng.choice([0, 1], n, p=[0.1, 0.9]))).astype(
        np.int16
    )
    columns: dict[str, np.ndarray] = {
        "Num_Acc": (202_300_000_000 + user_accident).astype(np.int64),
        "id_usager": np.array([f"{i}" for i in range(n)], dtype=object),
        "catu": catu,
        "catv": own,
        "secu1": belt,
        "secu2": np.full(n, -1, dtype=np.int16),
        "secu3": np.full(n, -1, dtype=np.int16),
        "vma": vma[user_accident],
        "place": np.where(catu == 3, 10, np.where(catu == 1, 1, 2)).astype(np.int16),
        "an": np.full(n, 2023, dtype=np.int16),
        "an_nais": rng.integers(1935, 2010, n).astype(np.int16),
        "sexe": np.where(rng.random(n) < 0.03, -1, rng.integers(1, 3, n)).astype(np.int16),
        "dep": np.array([PLACES[i][0] for i in place], dtype=object)[user_accident],
        "com": np.array([PLACES[i][1] for i in place], dtype=object)[user_accident],
        "lat": (np.array([PLACES[i][2] for i in place]) + rng.normal(0, 0.05, accidents))[user_accident],
        "long": (np.array([PLACES[i][3] for i in place]) + rng.normal(0, 0.05, accidents))[user_accident],
        "hrmn": (rng.integers(0, 24, accidents) * 100 + rng.integers(0, 60, accidents)).astype(np.int16)[user_accident],
    }
    highest = {
        "mois": 12,
        "jour": 28,
        "lum": 5,
        "agg": 2,
        "int": 9,
        "atm": 9,
        "col": 7,
        "catr": 4,
        "circ": 4,
        "plan": 4,
        "prof": 4,
        "surf": 9,
    }
    for name in COLUMNS:
        if name not in columns and name != "grav":
            values = rng.integers(1, highest.get(name, 3) + 1, accidents)
            columns[name] = np.where(rng.random(accidents) < 0.05, -1, values).astype(np.int16)[user_accident]
    columns["catr"] = np.where((own == 1) & (columns["catr"] == 1), 3, columns["catr"]).astype(np.int16)
    users = {name: columns[name] for name in ("catu", "sexe", "an_nais", "secu1")}
    columns |= build_accident_context(user_accident, user_vehicle, users, vehicle_accident, {"catv": catv}, accidents)
    danger = (
        -3.2
        + 1.6 * (catu == 3)
        + 1.8 * np.isin(own, (1, 33)) * (catu != 3)
        + 0.025 * (columns["vma"] - 50)
        + 0.8 * ((catu != 3) & (belt == 0))
        + 0.015 * (2023 - columns["an_nais"] - 40)
    )
    severe = rng.random(n) < 1 / (1 + np.exp(-danger))
    columns["grav"] = np.where(severe, rng.choice([2, 3, 3, 3], n), rng.choice([1, 4], n)).astype(np.int16)
    return pd.DataFrame(columns)
