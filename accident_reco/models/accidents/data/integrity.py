"""Integrity of the four tables of a year: keys, references and severities; dates and birth years are in `repairs`.

Every function drops refused rows, sets invalid values to unknown, and adds both to the quarantine.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook import FIELDS
from accident_reco.models.accidents.data.adapters import CanonicalTable
from accident_reco.models.accidents.data.quarantine import Quarantine


def keep_accidents(accidents: CanonicalTable, year: int | None, notes: Quarantine) -> None:
    """Drop accidents of another year and repeated numbers; an invalid `an` is replaced by the number's year."""
    numbers = accidents.columns["Num_Acc"]
    years = (numbers // 100_000_000).astype(np.int16)
    accidents.columns["an"] = np.where(accidents.columns["an"] > 0, accidents.columns["an"], years).astype(np.int16)
    if year is not None:
        other = accidents.columns["an"] != year
        rows = np.flatnonzero(other)
        values = [str(an) for an in accidents.columns["an"][rows].tolist()]
        accidents.refuse("wrong_year", rows, "an", values, f"is not the year of the file ({year})", notes)
        accidents.keep(~other)
    repeated = pd.Series(accidents.columns["Num_Acc"]).duplicated().to_numpy()
    rows = np.flatnonzero(repeated)
    values = [str(number) for number in accidents.columns["Num_Acc"][rows].tolist()]
    accidents.refuse("duplicate_key", rows, "Num_Acc", values, "is there already", notes)
    accidents.keep(~repeated)


def sort_numbers(accidents: CanonicalTable) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Order of the accidents by number, and the sorted numbers, each of shape (accidents,)."""
    numbers = accidents.columns["Num_Acc"].astype(np.int64)
    order = np.argsort(numbers, kind="stable")
    return order, numbers[order]


def link_to_accidents(
    table: CanonicalTable, numbers: NDArray[np.int64], order: NDArray[np.intp], notes: Quarantine
) -> NDArray[np.intp]:
    """Position of every row's accident, shape (rows,); rows without one are dropped."""
    wanted = table.columns["Num_Acc"].astype(np.int64)
    if not len(numbers):
        found, at = np.zeros(len(wanted), dtype=bool), np.zeros(len(wanted), dtype=np.intp)
    else:
        at = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
        found = numbers[at] == wanted
    rows = np.flatnonzero(~found)
    values = [str(number) for number in wanted[rows].tolist()]
    table.refuse("orphan", rows, "Num_Acc", values, "is not in caracteristiques", notes)
    table.keep(found)
    return order[at[found]] if len(numbers) else np.empty(0, dtype=np.intp)


def _encode_vehicle_names(
    vehicles: CanonicalTable, users: CanonicalTable
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes of the vehicle names of both tables, -1 = none: `id_vehicule` where both have it, else `num_veh`."""
    column = "id_vehicule" if all("id_vehicule" in table.raw.columns for table in (vehicles, users)) else "num_veh"
    names = np.concatenate([vehicles.columns[column], users.columns[column]])
    codes, _ = pd.factorize(names)
    return codes[: len(vehicles)].astype(np.int64), codes[len(vehicles) :].astype(np.int64)


def drop_duplicate_vehicles(vehicles: CanonicalTable, at: NDArray[np.intp], notes: Quarantine) -> NDArray[np.intp]:
    """Drop repeated vehicles of an accident, to which users would refer ambiguously; returns the remaining `at`."""
    column = "id_vehicule" if "id_vehicule" in vehicles.raw.columns else "num_veh"
    return _drop_repeated(vehicles, at, column, notes)


def drop_duplicate_users(users: CanonicalTable, at: NDArray[np.intp], notes: Quarantine) -> NDArray[np.intp]:
    """Drop users with a repeated id; returns the remaining `at`. Years without `id_usager` may have identical users."""
    return _drop_repeated(users, at, "id_usager", notes) if "id_usager" in users.raw.columns else at


def count_identical_users(users: CanonicalTable) -> int:
    """Number of users that equal another one in every column, for years without `id_usager`; 0 for others."""
    if "id_usager" in users.raw.columns:
        return 0
    return int(pd.DataFrame(users.columns, copy=False).duplicated().sum())


def _drop_repeated(table: CanonicalTable, at: NDArray[np.intp], column: str, notes: Quarantine) -> NDArray[np.intp]:
    codes, names = pd.factorize(table.columns[column])
    keys = at.astype(np.int64) * (len(names) + 1) + codes
    repeated = pd.Series(keys).duplicated().to_numpy() & (codes >= 0)
    rows = np.flatnonzero(repeated)
    table.refuse("duplicate_key", rows, column, table.columns[column][rows].tolist(), "is there already", notes)
    table.keep(~repeated)
    return at[~repeated]


def find_vehicles(
    users: CanonicalTable, vehicles: CanonicalTable, at: Mapping[str, NDArray[np.intp]], notes: Quarantine
) -> NDArray[np.int64]:
    """Position of every user's vehicle, by accident and vehicle name, shape (users,); -1 where there is none."""
    vehicle_codes, user_codes = _encode_vehicle_names(vehicles, users)
    width = int(max(vehicle_codes.max(initial=0), user_codes.max(initial=0))) + 1
    named = np.flatnonzero(vehicle_codes >= 0)
    keys = at["vehicules"][named].astype(np.int64) * width + vehicle_codes[named]
    wanted = np.where(user_codes < 0, -1, at["usagers"].astype(np.int64) * width + user_codes)
    found = pd.Index(keys).get_indexer(pd.Index(wanted))
    position = np.where(found < 0, -1, np.append(named, -1)[found])
    missing = np.flatnonzero(position < 0)
    names = [str(users.columns["id_vehicule"][row] or users.columns["num_veh"][row]) for row in missing]
    users.repair("no_vehicle", missing, "id_vehicule", names, "is not a vehicle of the accident", notes)
    return position.astype(np.int64)


def report_missing_roads(accidents: CanonicalTable, place_of: NDArray[np.int64], notes: Quarantine) -> None:
    """Add accidents without a row in `lieux` (`place_of` is -1, shape (accidents,)) to the quarantine."""
    missing = np.flatnonzero(place_of < 0)
    values = [str(number) for number in accidents.columns["Num_Acc"][missing].tolist()]
    accidents.repair("no_place", missing, "Num_Acc", values, "has no row in lieux", notes)


def find_known_severity(users: CanonicalTable, notes: Quarantine) -> NDArray[np.bool_]:
    """Whether each user has one of the four severities, shape (users,); others are refused but stay in the context."""
    known = users.columns["grav"] > 0
    rows = np.flatnonzero(~known)
    raw = users.raw.columns["grav"]
    positions = np.searchsorted(users.raw.line, users.line[rows])
    values = [raw[int(row)].as_py().strip() for row in positions]
    users.refuse("severity", rows, "grav", values, f"is not in {FIELDS['grav'].allowed}", notes)
    return known
