"""Four published tables of a year to one row per road user: keys, integrity, coordinates, the merge, the counts.

A person is never lost and never doubled: rows in = rows out + refused, table by table. Nothing here stores anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook import FIELDS, TABLES
from accident_reco.models.accidents.data.adapters import CanonicalTable, read_canonical
from accident_reco.models.accidents.data.coordinates import repair_coordinates
from accident_reco.models.accidents.data.lieux import rank_in_accident, select_main_roads
from accident_reco.models.accidents.data.quarantine import Quarantine
from accident_reco.models.accidents.data.schema import COLUMNS, VICTIM_COLUMNS, get_dtype
from accident_reco.models.accidents.features.context import build_accident_context

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class RawFile:
    """One published file: its name as published and its bytes."""

    name: str
    data: bytes


@dataclass
class TableCount:
    """Rows of one table: `rows_in` = `rows_out` + `refused`, or a row was lost."""

    rows_in: int
    rows_out: int
    refused: int

    @property
    def is_balanced(self) -> bool:
        """Whether every row is accounted for."""
        return self.rows_in == self.rows_out + self.refused


@dataclass
class AccidentYear:
    """A year in canonical form. `victims` has one row per road user; `places` keeps every road of a crossing."""

    victims: pd.DataFrame
    accidents: pd.DataFrame
    places: pd.DataFrame
    vehicles: pd.DataFrame
    quarantine: pd.DataFrame
    counts: dict[str, TableCount]
    eras: dict[str, str]
    identical_users: int = 0


def build_victims(files: Mapping[str, RawFile], year: int | None = None) -> AccidentYear:
    """Reads and merges the four files of a year.

    Args:
        files: by table name (`caracteristiques`, `lieux`, `vehicules`, `usagers`).
        year: rows of other years are refused; None takes what comes (mixed files).

    Raises:
        UnreadableFile: a file is empty or not the table it should be.
    """
    notes = Quarantine(-1 if year is None else year)
    tables = {name: read_canonical(files[name].data, name, files[name].name, notes) for name in TABLES}
    accidents, places, vehicles, users = (tables[name] for name in TABLES)
    _keep_accidents(accidents, year, notes)
    order, numbers = _sort_numbers(accidents)
    repair_coordinates(accidents, notes)
    _check_dates(accidents, notes)

    at = {name: _link_to_accidents(tables[name], numbers, order, notes) for name in TABLES[1:]}
    at["vehicules"] = _drop_duplicate_vehicles(vehicles, at["vehicules"], notes)
    at["usagers"] = _drop_duplicate_users(users, at["usagers"], notes)
    main = select_main_roads(at["lieux"], places.columns)
    place_of = np.full(len(accidents), -1, dtype=np.int64)
    place_of[at["lieux"][main]] = main
    _report_missing_roads(accidents, place_of, notes)
    vehicle_of = _find_vehicles(users, vehicles, at, notes)

    identical = _count_identical_users(users)
    context = build_accident_context(
        at["usagers"], vehicle_of, users.columns, at["vehicules"], vehicles.columns, len(accidents)
    )
    _check_births(users, accidents.columns["an"][at["usagers"]], notes)
    known = _reject_unknown_severity(users, notes)
    merged = _merge(accidents, places, vehicles, users, at["usagers"], place_of, vehicle_of, known)
    merged.update({name: column[known] for name, column in context.items()})
    users.keep(known)

    places_frame = pd.DataFrame(places.columns, copy=False)
    places_frame.insert(1, "rang", rank_in_accident(at["lieux"]))
    places_frame.insert(2, "principal", np.isin(np.arange(len(places)), main))
    counts = {
        name: TableCount(table.raw.rows_in, len(table), notes.count_refused(name)) for name, table in tables.items()
    }
    return AccidentYear(
        victims=pd.DataFrame(merged, copy=False),
        accidents=pd.DataFrame(accidents.columns, copy=False),
        places=places_frame,
        vehicles=pd.DataFrame(vehicles.columns, copy=False),
        quarantine=notes.to_frame(),
        counts=counts,
        eras={name: table.era for name, table in tables.items()},
        identical_users=identical,
    )


def _keep_accidents(accidents: CanonicalTable, year: int | None, notes: Quarantine) -> None:
    """Refuses accidents of another year and repeated accident numbers; fills `an` from the number where it is odd."""
    numbers = accidents.columns["Num_Acc"]
    years = (numbers // 100_000_000).astype(np.int16)
    accidents.columns["an"] = np.where(accidents.columns["an"] > 0, accidents.columns["an"], years).astype(np.int16)
    if year is not None:
        other = accidents.columns["an"] != year
        rows = np.flatnonzero(other)
        accidents.refuse(
            "wrong_year",
            rows,
            "an",
            [str(an) for an in accidents.columns["an"][rows].tolist()],
            f"is not the year of the file ({year})",
            notes,
        )
        accidents.keep(~other)
    repeated = pd.Series(accidents.columns["Num_Acc"]).duplicated().to_numpy()
    rows = np.flatnonzero(repeated)
    values = [str(number) for number in accidents.columns["Num_Acc"][rows].tolist()]
    accidents.refuse("duplicate_key", rows, "Num_Acc", values, "is there already", notes)
    accidents.keep(~repeated)


def _sort_numbers(accidents: CanonicalTable) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    numbers = accidents.columns["Num_Acc"].astype(np.int64)
    order = np.argsort(numbers, kind="stable")
    return order, numbers[order]


def _link_to_accidents(
    table: CanonicalTable, numbers: NDArray[np.int64], order: NDArray[np.intp], notes: Quarantine
) -> NDArray[np.intp]:
    """Position of every row's accident; rows without one are refused and dropped."""
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
    """Codes of the vehicle names of both tables: `id_vehicule` where both publish it, else `num_veh`. -1 = none."""
    column = "id_vehicule" if all("id_vehicule" in table.raw.columns for table in (vehicles, users)) else "num_veh"
    names = np.concatenate([vehicles.columns[column], users.columns[column]])
    codes, _ = pd.factorize(names)
    return codes[: len(vehicles)].astype(np.int64), codes[len(vehicles) :].astype(np.int64)


def _drop_duplicate_vehicles(vehicles: CanonicalTable, at: NDArray[np.intp], notes: Quarantine) -> NDArray[np.intp]:
    """A second vehicle of the same accident and id is refused: users could not tell the two apart."""
    column = "id_vehicule" if "id_vehicule" in vehicles.raw.columns else "num_veh"
    return _drop_repeated(vehicles, at, column, notes)


def _drop_duplicate_users(users: CanonicalTable, at: NDArray[np.intp], notes: Quarantine) -> NDArray[np.intp]:
    """A second user of the same id is refused; years without `id_usager` may hold identical twins, who stay."""
    return _drop_repeated(users, at, "id_usager", notes) if "id_usager" in users.raw.columns else at


def _count_identical_users(users: CanonicalTable) -> int:
    """Users like another one in every column, where no id tells them apart: a few are twins, half are a doubling."""
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


def _find_vehicles(
    users: CanonicalTable, vehicles: CanonicalTable, at: Mapping[str, NDArray[np.intp]], notes: Quarantine
) -> NDArray[np.int64]:
    """Position of every user's vehicle, by accident and vehicle name; -1 (and a note) where there is none."""
    vehicle_codes, user_codes = _encode_vehicle_names(vehicles, users)
    width = int(max(vehicle_codes.max(initial=0), user_codes.max(initial=0))) + 1
    named = np.flatnonzero(vehicle_codes >= 0)
    keys = at["vehicules"][named].astype(np.int64) * width + vehicle_codes[named]
    wanted = np.where(user_codes < 0, -1, at["usagers"].astype(np.int64) * width + user_codes)
    found = pd.Index(keys).get_indexer(pd.Index(wanted))
    position = np.where(found < 0, -1, np.append(named, -1)[found])
    missing = np.flatnonzero(position < 0)
    lines = users.line[missing].tolist()
    shown = [str(users.columns["id_vehicule"][row] or users.columns["num_veh"][row]) for row in missing]
    notes.add(
        "no_vehicle",
        "usagers",
        users.file,
        lines,
        "id_vehicule",
        shown,
        "is not a vehicle of the accident",
        users.columns["Num_Acc"][missing].tolist(),
    )
    return position.astype(np.int64)


def _report_missing_roads(accidents: CanonicalTable, place_of: NDArray[np.int64], notes: Quarantine) -> None:
    missing = np.flatnonzero(place_of < 0)
    numbers = accidents.columns["Num_Acc"][missing].tolist()
    notes.add(
        "no_place",
        "caracteristiques",
        accidents.file,
        accidents.line[missing].tolist(),
        "Num_Acc",
        [str(number) for number in numbers],
        "has no row in lieux",
        numbers,
    )


def _check_dates(accidents: CanonicalTable, notes: Quarantine) -> None:
    """A day that its month does not have becomes unknown."""
    an, mois, jour = (accidents.columns[name].astype(np.int64) for name in ("an", "mois", "jour"))
    leap = (an % 4 == 0) & ((an % 100 != 0) | (an % 400 == 0))
    days = np.array([31, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[np.maximum(mois, 0)] + (leap & (mois == 2))
    rows = np.flatnonzero(jour > days)
    accidents.columns["jour"][rows] = -1
    values = [f"{day:02d}" for day in jour[rows].tolist()]
    reasons = [f"is not a day of month {month} of {year}" for month, year in zip(mois[rows], an[rows], strict=True)]
    notes.add(
        "impossible_date",
        "caracteristiques",
        accidents.file,
        accidents.line[rows].tolist(),
        "jour",
        values,
        reasons,
        accidents.columns["Num_Acc"][rows].tolist(),
    )


MAX_AGE: Final = 120


def _check_births(users: CanonicalTable, an: NDArray[Any], notes: Quarantine) -> None:
    """A birth after the accident, or more than 120 years before it, becomes unknown."""
    born = users.columns["an_nais"].astype(np.int64)
    age = an.astype(np.int64) - born
    rows = np.flatnonzero((born > 0) & ((age < 0) | (age > MAX_AGE)))
    users.columns["an_nais"][rows] = -1
    notes.add(
        "born_later",
        "usagers",
        users.file,
        users.line[rows].tolist(),
        "an_nais",
        [str(year) for year in born[rows].tolist()],
        f"makes the person {MAX_AGE} years old or unborn",
        users.columns["Num_Acc"][rows].tolist(),
    )


def _reject_unknown_severity(users: CanonicalTable, notes: Quarantine) -> NDArray[np.bool_]:
    """Refuses people whose severity is not one of the four codes; they stay part of their accident's context."""
    known = users.columns["grav"] > 0
    rows = np.flatnonzero(~known)
    raw = users.raw.columns["grav"]
    positions = np.searchsorted(users.raw.line, users.line[rows])
    values = [raw[int(row)].as_py().strip() for row in positions]
    users.refuse("severity", rows, "grav", values, f"is not in {FIELDS['grav'].allowed}", notes)
    return known


def _merge(
    accidents: CanonicalTable,
    places: CanonicalTable,
    vehicles: CanonicalTable,
    users: CanonicalTable,
    accident_of: NDArray[np.intp],
    place_of: NDArray[np.int64],
    vehicle_of: NDArray[np.int64],
    known: NDArray[np.bool_],
) -> Columns:
    """The victim columns; what has no partner is unknown."""
    accident_of, vehicle_of = accident_of[known], vehicle_of[known]
    place_of = place_of[accident_of]
    merged: Columns = {}
    for name in VICTIM_COLUMNS:
        if name in COLUMNS["usagers"] and name != "Num_Acc":
            merged[name] = users.columns[name][known]
        elif name in accidents.columns:
            merged[name] = accidents.columns[name][accident_of]
        elif name in places.columns:
            merged[name] = _take_or_unknown(places.columns[name], place_of, name)
        else:
            merged[name] = _take_or_unknown(vehicles.columns[name], vehicle_of, name)
    return merged


def _take_or_unknown(column: NDArray[Any], rows: NDArray[np.int64], name: str) -> NDArray[Any]:
    nothing: Any = {"object": None, "float64": np.nan}.get(get_dtype(name), -1)
    if not len(column):
        return np.full(len(rows), nothing, dtype=get_dtype(name))
    taken = column[rows]
    missing = rows < 0
    if missing.any():
        taken[missing] = nothing
    return taken
