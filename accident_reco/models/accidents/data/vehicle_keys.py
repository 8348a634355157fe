"""The two keys of a vehicle, `id_vehicule` (since 2019) and `num_veh`, and the vehicle of every road user.

Within an accident each key names a vehicle. Files that were saved again have ids as floats, with stray spaces, with
digits lost to scientific notation, or none; then the other key applies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.models.accidents.data.adapters import CanonicalTable
from accident_reco.models.accidents.data.quarantine import Quarantine

KEYS: Final = ("id_vehicule", "num_veh")
MIN_CONFLICTS: Final = 0.001
"""Share of road users from which vehicles that differ by key are reported."""


def drop_duplicate_vehicles(vehicles: CanonicalTable, at: NDArray[np.intp], notes: Quarantine) -> NDArray[np.intp]:
    """Drop vehicles of an accident that repeat both keys (or the only one they have); returns the remaining `at`.

    A key that vehicles of one accident share while the other key tells them apart names none of them, and is removed.
    """
    ids, numbers = (_encode(at, vehicles.columns[name]) for name in KEYS)
    frame = pd.DataFrame({"at": at, "id": ids, "number": numbers})
    repeated = (frame.duplicated() & ((frame["id"] >= 0) | (frame["number"] >= 0))).to_numpy()
    rows = np.flatnonzero(repeated)
    has_id = "id_vehicule" in vehicles.raw.columns and (ids >= 0).any()
    name = "id_vehicule" if has_id else "num_veh"
    vehicles.refuse("duplicate_key", rows, name, vehicles.read_texts(name, rows), "is there already", notes)
    vehicles.keep(~repeated)
    at, ids = at[~repeated], ids[~repeated]
    shared = pd.Series(ids).duplicated(keep=False).to_numpy() & (ids >= 0)
    rows = np.flatnonzero(shared)
    reason = "is the id of several vehicles of the accident; num_veh tells them apart"
    vehicles.note_some("shared_key", rows, "id_vehicule", reason, notes)
    vehicles.columns["id_vehicule"] = vehicles.columns["id_vehicule"].copy()
    vehicles.columns["id_vehicule"][shared] = None
    return at


def find_vehicles(
    users: CanonicalTable, vehicles: CanonicalTable, at: Mapping[str, NDArray[np.intp]], notes: Quarantine
) -> NDArray[np.int64]:
    """Position of every user's vehicle, shape (users,), by `id_vehicule`, else by `num_veh`; -1 where there is none."""
    by_id, by_number = (_match(users.columns[name], vehicles.columns[name], at) for name in KEYS)
    position = np.where(by_id >= 0, by_id, by_number)
    has_id = pd.notna(users.columns["id_vehicule"])
    failed = np.flatnonzero(has_id & (by_id < 0) & (by_number >= 0))
    users.note_some("other_key", failed, "id_vehicule", "is not an id of a vehicle of the accident", notes)
    conflicts = np.flatnonzero((by_id >= 0) & (by_number >= 0) & (by_id != by_number))
    if len(conflicts) > MIN_CONFLICTS * len(users):
        reasons = [f"and num_veh = {text} name different vehicles" for text in users.read_texts("num_veh", conflicts)]
        texts = users.read_texts("id_vehicule", conflicts)
        users.repair("different_keys", conflicts, "id_vehicule", texts, reasons, notes)
    missing = np.flatnonzero(position < 0)
    _report_missing(users, vehicles, missing, notes)
    return position.astype(np.int64)


def _report_missing(users: CanonicalTable, vehicles: CanonicalTable, rows: NDArray[np.intp], notes: Quarantine) -> None:
    """Report road users without a vehicle, each by the keys that its line has."""
    texts = {name: users.read_texts(name, rows) for name in KEYS}
    held = {name: bool(pd.notna(vehicles.columns[name]).any()) for name in KEYS}
    columns, values, reasons = [], [], []
    for row, *cells in zip(rows.tolist(), *texts.values(), strict=True):
        filled = [name for name in KEYS if users.columns[name][row] is not None]
        name = filled[0] if filled else "id_vehicule" if held["id_vehicule"] else "num_veh"
        columns.append(name)
        values.append(cells[KEYS.index(name)])
        unusable = [key for key in filled if not held[key]]
        if not filled:
            reasons.append("names no vehicle, nor does the other of id_vehicule and num_veh")
        elif len(unusable) == len(filled):
            reasons.append(f"cannot be found: {vehicles.file} has no {' and no '.join(unusable)}")
        else:
            other = f" (nor is num_veh = {cells[1]})" if len(filled) > 1 else ""
            reasons.append(f"is not a vehicle of the accident{other}")
    for name in dict.fromkeys(columns):
        some = [index for index, column in enumerate(columns) if column == name]
        users.repair("no_vehicle", rows[some], name, [values[n] for n in some], [reasons[n] for n in some], notes)


def _encode(at: NDArray[np.intp], names: NDArray[Any]) -> NDArray[np.int64]:
    """Codes of the names within their accidents, -1 where there is none."""
    codes, known = pd.factorize(names)
    return np.where(codes < 0, -1, at.astype(np.int64) * (len(known) + 1) + codes)


def _match(wanted: NDArray[Any], names: NDArray[Any], at: Mapping[str, NDArray[np.intp]]) -> NDArray[np.int64]:
    """Position of the vehicle with each wanted name in its accident, -1 where none or several have it."""
    keys = _encode(np.concatenate([at["vehicules"], at["usagers"]]), np.concatenate([names, wanted]))
    mine, theirs = keys[: len(names)], keys[len(names) :]
    unique = ~pd.Series(mine).duplicated(keep=False).to_numpy() & (mine >= 0)
    positions = np.flatnonzero(unique)
    found = pd.Index(mine[unique]).get_indexer(pd.Index(theirs))
    return np.where((found < 0) | (theirs < 0), -1, np.append(positions, -1)[found]).astype(np.int64)
