"""From validated requests to the scorer's columns: official name → numpy array, unknown as -1, NaN or None."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from accident_reco.models.accidents import codebook
from accident_reco.models.accidents.data import schema
from accident_reco.models.accidents.features.context import build_accident_context
from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS

Columns = dict[str, NDArray[Any]]
# Kind of array of a column; 32-bit integers by default.
_KIND: Final = (
    dict.fromkeys(schema.TEXT, "text")
    | dict.fromkeys(schema.REAL, "real")
    | {"hrmn": "notation", "actp": "notation", "Num_Acc": "int64"}
)
# Reals in which -1 means unknown since it is no valid value: a width, but not a latitude.
_MINUS_ONE_IS_UNKNOWN: Final = frozenset(n for n in schema.REAL if not codebook.get_field(n).accepts(codebook.UNKNOWN))


@dataclass
class ScoringRows:
    """Rows to score, one per road user.

    Args:
        columns: raw columns, each of shape (n,).
        inputs: the rows as requested, for the log.
        accident: position of each row's accident in the request, shape (n,); -1 for `records`.
        context: `full` or `partial`.
    """

    columns: Columns
    inputs: list[dict[str, Any]]
    accident: NDArray[np.int64]
    context: str
    warnings: list[str] = field(default_factory=list)


def to_columns(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """Columns of rows, each of shape (n,); keys may differ between rows, and a missing key is unknown."""
    if len(rows) == 1:
        return {name: _to_array(name, [value]) for name, value in rows[0].items()}
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _to_array(name, [row.get(name) for row in rows]) for name in names}


def merge_columns(parts: Sequence[Columns]) -> Columns:
    """Columns of the rows of several requests, in order; what a request does not have is unknown in its rows."""
    sizes = [len(next(iter(part.values()))) for part in parts]
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: np.concatenate(
            [part[name] if name in part else _to_array(name, [None] * n) for part, n in zip(parts, sizes, strict=True)]
        )
        for name in names
    }


def _to_array(name: str, values: list[Any]) -> NDArray[Any]:
    kind = _KIND.get(name, "int32")
    if kind == "text":
        return np.array(values, dtype=object)
    if kind == "real":
        return np.array([_to_real(name, value) for value in values], dtype=np.float64)
    if kind == "notation":
        values = [codebook.to_number(name, value) if isinstance(value, str) else value for value in values]
    if None in values:
        values = [-1 if value is None else value for value in values]
    return np.array(values, dtype=np.int64 if kind == "int64" else np.int32)


def _to_real(name: str, value: Any) -> float:
    if value is None or (value == codebook.UNKNOWN and name in _MINUS_ONE_IS_UNKNOWN):
        return float("nan")
    return float(value)


def get_provided_fields(model: BaseModel) -> dict[str, Any]:
    """Fields of the request that are set and not null."""
    values = model.__dict__
    return {name: values[name] for name in model.model_fields_set if values[name] is not None}


def from_records(records: Iterable[BaseModel]) -> ScoringRows:
    """Rows of `records`: one road user each, with the context that the record states."""
    inputs = [get_provided_fields(record) for record in records]
    columns = to_columns(inputs)
    if not columns:
        # Records without any field are valid: everything is unknown.
        columns = {"catu": np.full(len(inputs), -1, dtype=np.int32)}
    complete = all(name in columns and bool((columns[name] >= 0).all()) for name in CONTEXT_COLUMNS)
    return ScoringRows(columns, inputs, np.full(len(inputs), -1, dtype=np.int64), "full" if complete else "partial")


def from_accidents(accidents: Sequence[BaseModel]) -> ScoringRows:
    """Rows of whole accidents, with context computed from all of their users and vehicles."""
    vehicles: list[dict[str, Any]] = []
    vehicle_accident: list[int] = []
    users: list[dict[str, Any]] = []
    user_accident: list[int] = []
    user_vehicle: list[int] = []
    warnings: list[str] = []
    shared: list[dict[str, Any]] = []
    for position, accident in enumerate(accidents):
        of_all = get_provided_fields(accident)
        by_id: dict[str, int] = {}
        for vehicle in of_all.pop("vehicles", ()):
            fields = get_provided_fields(vehicle)
            name = fields.pop("id")
            if name in by_id:
                warnings.append(f"accidents/{position}: two vehicles have the same id; the first is used")
                continue
            by_id[name] = len(vehicles)
            vehicles.append(fields)
            vehicle_accident.append(position)
        for index, user in enumerate(of_all.pop("users")):
            fields = get_provided_fields(user)
            name = fields.pop("vehicle", None)
            if name is not None and name not in by_id:
                warnings.append(
                    f"accidents/{position}/users/{index}: the vehicle is not listed; it is treated as unknown"
                )
                by_id[name] = len(vehicles)
                vehicles.append({})
                vehicle_accident.append(position)
            users.append(fields)
            user_accident.append(position)
            user_vehicle.append(-1 if name is None else by_id[name])
        shared.append(of_all)

    of_accident = np.array(user_accident, dtype=np.int64)
    of_vehicle = np.array(user_vehicle, dtype=np.int64)
    user_columns, vehicle_columns = to_columns(users), to_columns(vehicles)
    columns: Columns = {name: values[of_accident] for name, values in to_columns(shared).items()}
    for name, values in vehicle_columns.items():
        # Position -1 (no vehicle) reads the unknown value that is appended after the last vehicle.
        columns[name] = np.append(values, np.array(-1, dtype=values.dtype))[of_vehicle]
    columns |= user_columns
    columns |= build_accident_context(
        of_accident,
        of_vehicle,
        {name: values.astype(np.int64) for name, values in user_columns.items() if values.dtype.kind == "i"},
        np.array(vehicle_accident, dtype=np.int64),
        {name: values.astype(np.int64) for name, values in vehicle_columns.items() if values.dtype.kind == "i"},
        len(accidents),
    )
    inputs = [
        # The position in the request identifies the users of an accident in the log.
        {**shared[a], **(vehicles[v] if v >= 0 else {}), **user, "accident": a}
        for a, v, user in zip(user_accident, user_vehicle, users, strict=True)
    ]
    for name in CONTEXT_COLUMNS:
        for row, value in zip(inputs, columns[name].tolist(), strict=True):
            row[name] = value
    return ScoringRows(columns, inputs, of_accident, "full", warnings)
