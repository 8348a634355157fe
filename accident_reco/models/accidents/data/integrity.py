"""Integrity of the four tables of a year: keys, references and severities; dates and birth years are in `repairs`.

Every function drops refused rows, sets invalid values to unknown, and adds both to the quarantine.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook import FIELDS
from accident_reco.models.accidents.data.adapters import CanonicalTable
from accident_reco.models.accidents.data.eras import FEW_ROWS
from accident_reco.models.accidents.data.quarantine import Quarantine

MAX_SHARED_IDS: Final = 0.02
"""Share of road users from which a shared `id_usager` shows that the ids are lost, not that rows are repeated."""


def keep_accidents(accidents: CanonicalTable, year: int | None, notes: Quarantine) -> None:
    """Drop accidents of another year and repeated numbers; an invalid `an` is replaced by the number's year."""
    numbers = accidents.columns["Num_Acc"]
    years = (numbers // 100_000_000).astype(np.int16)
    accidents.columns["an"] = np.where(accidents.columns["an"] > 0, accidents.columns["an"], years).astype(np.int16)
    if year is not None:
        other = accidents.columns["an"] != year
        rows = np.flatnonzero(other)
        accidents.refuse(
            "wrong_year", rows, "an", accidents.read_texts("an", rows), f"is not the year of the file ({year})", notes
        )
        accidents.keep(~other)
    repeated = pd.Series(accidents.columns["Num_Acc"]).duplicated().to_numpy()
    rows = np.flatnonzero(repeated)
    texts = accidents.read_texts("Num_Acc", rows)
    accidents.refuse("duplicate_key", rows, "Num_Acc", texts, "is there already", notes)
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
    table.refuse("orphan", rows, "Num_Acc", table.read_texts("Num_Acc", rows), "is not in caracteristiques", notes)
    table.keep(found)
    return order[at[found]] if len(numbers) else np.empty(0, dtype=np.intp)


def drop_duplicate_users(users: CanonicalTable, at: NDArray[np.intp], notes: Quarantine) -> NDArray[np.intp]:
    """Drop users with a repeated id; returns the remaining `at`. Years without `id_usager` may have identical users.

    Where many users share an id but nothing else, the ids are lost: they are removed, and every user is kept.
    """
    codes, names = pd.factorize(users.columns["id_usager"])
    keys = at.astype(np.int64) * (len(names) + 1) + codes
    repeated = pd.Series(keys).duplicated().to_numpy() & (codes >= 0)
    differ = repeated & ~pd.DataFrame(users.columns, copy=False).duplicated().to_numpy()
    rows = np.flatnonzero(repeated)
    if differ.sum() > max(MAX_SHARED_IDS * len(users), FEW_ROWS):
        first = users.read_texts("id_usager", rows[:1])[0]
        reason = f"(id_usager = {first}) is the id of several road users, like in {len(rows):,} of {len(users):,} rows"
        users.repair("shared_key", rows[:1], "", [""], reason, notes)
        users.columns["id_usager"] = np.full(len(users), None, dtype=object)
        return at
    users.refuse("duplicate_key", rows, "id_usager", users.read_texts("id_usager", rows), "is there already", notes)
    users.keep(~repeated)
    return at[~repeated]


def count_identical_users(users: CanonicalTable) -> int:
    """Number of users that equal another one in every column, for years without `id_usager`; 0 for others."""
    if pd.notna(users.columns["id_usager"]).any():
        return 0
    return int(pd.DataFrame(users.columns, copy=False).duplicated().sum())


def report_missing_roads(accidents: CanonicalTable, place_of: NDArray[np.int64], notes: Quarantine) -> None:
    """Add accidents without a row in `lieux` (`place_of` is -1, shape (accidents,)) to the quarantine."""
    missing = np.flatnonzero(place_of < 0)
    accidents.repair(
        "no_place", missing, "Num_Acc", accidents.read_texts("Num_Acc", missing), "has no row in lieux", notes
    )


def find_known_severity(users: CanonicalTable, notes: Quarantine) -> NDArray[np.bool_]:
    """Whether each user has one of the four severities, shape (users,); others are refused but stay in the context."""
    known = users.columns["grav"] > 0
    rows = np.flatnonzero(~known)
    users.refuse("severity", rows, "grav", users.read_texts("grav", rows), f"is not in {FIELDS['grav'].allowed}", notes)
    return known
