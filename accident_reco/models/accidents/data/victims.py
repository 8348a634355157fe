"""Merge of the four published tables of a year to one row per road user. Stores nothing.

No road user is lost or duplicated: rows in = rows out + refused, in every table.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data.adapters import CanonicalTable, refuse_lost_numbers, to_canonical
from accident_reco.models.accidents.data.coordinates import repair_coordinates
from accident_reco.models.accidents.data.eras import collect_evidence, decide_era
from accident_reco.models.accidents.data.integrity import (
    count_identical_users,
    drop_duplicate_users,
    find_known_severity,
    keep_accidents,
    link_to_accidents,
    report_missing_roads,
    sort_numbers,
)
from accident_reco.models.accidents.data.lieux import rank_in_accident, select_main_roads
from accident_reco.models.accidents.data.quarantine import Quarantine
from accident_reco.models.accidents.data.reading import RawTable, read_table
from accident_reco.models.accidents.data.repairs import repair_birth_years, repair_dates
from accident_reco.models.accidents.data.schema import COLUMNS, OPTIONAL, VICTIM_COLUMNS, get_dtype
from accident_reco.models.accidents.data.vehicle_keys import drop_duplicate_vehicles, find_vehicles
from accident_reco.models.accidents.features.context import build_accident_context

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class RawFile:
    """One published file: its name as published and its bytes."""

    name: str
    data: bytes


@dataclass
class TableCount:
    """Rows of one table; `rows_in` = `rows_out` + `refused`."""

    rows_in: int
    rows_out: int
    refused: int


@dataclass
class AccidentYear:
    """A year in canonical form. `victims` has one row per road user; `places` has every road of an intersection."""

    victims: pd.DataFrame
    accidents: pd.DataFrame
    places: pd.DataFrame
    vehicles: pd.DataFrame
    quarantine: pd.DataFrame
    counts: dict[str, TableCount]
    eras: dict[str, str]
    identical_users: int = 0
    layouts: dict[str, str] = field(default_factory=dict)


@dataclass
class ScoredTables:
    """Road users of four tables that are to be scored, whatever is known of them.

    Args:
        victims: as in `AccidentYear`; without a known severity as well.
        line: line of each in its file, shape (n,).
        raw: the file's text.
        notes: refused lines and repaired values of all tables.
        orphans: accident numbers of users that the file of accidents does not have.
    """

    victims: Columns
    line: NDArray[np.int32]
    raw: RawTable
    notes: Quarantine
    orphans: NDArray[np.int64]


def merge_for_scoring(files: Mapping[str, RawFile]) -> ScoredTables:
    """Read and merge four files of road users whose severity need not be known; nobody is refused for a missing row.

    Raises:
        UnreadableFile: a file is empty or not a file of its table.
    """
    notes = Quarantine(lists_not_filled_in=True)
    tables = _read_tables(files, notes, None, OPTIONAL | {"grav"})
    keep_accidents(tables["caracteristiques"], None, notes)
    accidents, users = tables["caracteristiques"], tables["usagers"]
    orphans = np.setdiff1d(users.columns["Num_Acc"], accidents.columns["Num_Acc"])
    accidents.append_unknown(orphans)
    accidents.columns["an"] = np.where(
        accidents.columns["an"] > 0, accidents.columns["an"], accidents.columns["Num_Acc"] // 100_000_000
    ).astype(np.int16)
    merge = _Merge(tables, notes)
    return ScoredTables(merge.merge(np.ones(len(users), dtype=bool)), users.line, users.raw, notes, orphans)


def build_victims(files: Mapping[str, RawFile], year: int | None = None) -> AccidentYear:
    """Read and merge the four files of a year.

    Args:
        files: by table name (`caracteristiques`, `lieux`, `vehicules`, `usagers`).
        year: rows of other years are refused; None: no check.

    Raises:
        UnreadableFile: a file is empty or not a file of its table, or the files are not of one era.
    """
    notes = Quarantine(-1 if year is None else year)
    tables = _read_tables(files, notes, year)
    accidents, places, vehicles, users = (tables[name] for name in TABLES)
    keep_accidents(accidents, year, notes)
    merge = _Merge(tables, notes)
    known = find_known_severity(users, notes)
    merged = merge.merge(known)
    users.keep(known)

    places_frame = pd.DataFrame(places.columns, copy=False)
    places_frame.insert(1, "rang", rank_in_accident(merge.at["lieux"]))
    places_frame.insert(2, "principal", np.isin(np.arange(len(places)), merge.main))
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
        layouts={name: table.raw.layout for name, table in tables.items()},
        identical_users=merge.identical_users,
    )


def _read_tables(
    files: Mapping[str, RawFile], notes: Quarantine, year: int | None, optional: Set[str] = OPTIONAL
) -> dict[str, CanonicalTable]:
    """The four files in the layout of one era."""
    raw = {name: read_table(files[name].data, name, files[name].name, notes, optional) for name in TABLES}
    for table in raw.values():
        refuse_lost_numbers(table)
    era = decide_era([collect_evidence(table) for table in raw.values()], year)
    return {name: to_canonical(raw[name], era, notes) for name in TABLES}


class _Merge:
    """The four tables of `build_victims`, linked: every road user's accident, vehicle, main road and context.

    Drops refused rows of the tables and repairs values; both are added to `notes`.
    """

    def __init__(self, tables: Mapping[str, CanonicalTable], notes: Quarantine) -> None:
        self.tables = tables
        accidents, places, vehicles, users = (tables[name] for name in TABLES)
        order, numbers = sort_numbers(accidents)
        repair_coordinates(accidents, notes)
        repair_dates(accidents, notes)
        at = {name: link_to_accidents(tables[name], numbers, order, notes) for name in TABLES[1:]}
        at["vehicules"] = drop_duplicate_vehicles(vehicles, at["vehicules"], notes)
        at["usagers"] = drop_duplicate_users(users, at["usagers"], notes)
        self.at = at
        self.main = select_main_roads(at["lieux"], places.columns)
        self.place_of = np.full(len(accidents), -1, dtype=np.int64)
        self.place_of[at["lieux"][self.main]] = self.main
        report_missing_roads(accidents, self.place_of, notes)
        self.vehicle_of = find_vehicles(users, vehicles, at, notes)
        self.identical_users = count_identical_users(users)
        self.context = build_accident_context(
            at["usagers"], self.vehicle_of, users.columns, at["vehicules"], vehicles.columns, len(accidents)
        )
        repair_birth_years(users, accidents.columns["an"][at["usagers"]], notes)

    def merge(self, chosen: NDArray[np.bool_]) -> Columns:
        """The victim columns of some users, with context; unknown where there is no road or vehicle."""
        accidents, places, vehicles, users = (self.tables[name] for name in TABLES)
        at = self.at["usagers"]
        merged = _merge(accidents, places, vehicles, users, at, self.place_of, self.vehicle_of, chosen)
        merged.update({name: column[chosen] for name, column in self.context.items()})
        return merged


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
    """The victim columns of some users; unknown where there is no road or vehicle."""
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
    missing_value: Any = {"object": None, "float64": np.nan}.get(get_dtype(name), -1)
    if not len(column):
        return np.full(len(rows), missing_value, dtype=get_dtype(name))
    taken = column[rows]
    missing = rows < 0
    if missing.any():
        taken[missing] = missing_value
    return taken
