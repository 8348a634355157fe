"""Turns validated requests into the scorer's columns: official name → numpy array, unknown as -1, NaN or None."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from accident_reco.models.accidents import codebook
from accident_reco.models.accidents.data import schema
from accident_reco.models.accidents.features.context import CONTEXT_COLUMNS, accident_context
from accident_reco.models.accidents.serving.request import ACCIDENT_FIELDS, USER_FIELDS, VEHICLE_FIELDS

Columns = dict[str, NDArray[Any]]
# How a column's values become an array; whole numbers of 32 bits where nothing else is said.
_KIND: Final = (
    dict.fromkeys(schema.TEXT, "text")
    | dict.fromkeys(schema.REAL, "real")
    | {"hrmn": "spelt", "actp": "spelt", "Num_Acc": "wide"}
)
# -1 is unknown where it is no possible value: a latitude of -1 exists, a width of -1 does not.
_NEVER_MINUS_ONE: Final = frozenset(n for n in schema.REAL if not codebook.field(n).accepts(codebook.UNKNOWN))


@dataclass
class Parties:
    """Rows to score, one per road user.

    `inputs` are the rows as the caller said them, for the log; `accident` is each row's accident, -1 in the short form.
    """

    columns: Columns
    inputs: list[dict[str, Any]]
    accident: NDArray[np.int64]
    context: str
    warnings: list[str] = field(default_factory=list)


def to_columns(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """Columns of rows that need not have the same keys; a column that no row has is left out."""
    if len(rows) == 1:
        return {name: _column(name, [value]) for name, value in rows[0].items()}
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _column(name, [row.get(name) for row in rows]) for name in names}


def _column(name: str, values: list[Any]) -> NDArray[Any]:
    kind = _KIND.get(name, "whole")
    if kind == "text":
        return np.array(values, dtype=object)
    if kind == "real":
        return np.array([_real(name, value) for value in values], dtype=np.float64)
    if kind == "spelt":
        values = [codebook.canonical(name, value) if isinstance(value, str) else value for value in values]
    if None in values:
        values = [-1 if value is None else value for value in values]
    return np.array(values, dtype=np.int64 if kind == "wide" else np.int32)


def _real(name: str, value: Any) -> float:
    if value is None or (value == codebook.UNKNOWN and name in _NEVER_MINUS_ONE):
        return float("nan")
    return float(value)


def given(model: BaseModel) -> dict[str, Any]:
    """The fields that the caller named, null ones left out."""
    values = model.__dict__
    return {name: values[name] for name in model.model_fields_set if values[name] is not None}


def from_records(records: Iterable[BaseModel]) -> Parties:
    """The short form: every record is a road user; what it does not say about the others is unknown."""
    inputs = [given(record) for record in records]
    columns = to_columns(inputs)
    if not columns:
        # Nothing is known of anybody, which is a question too.
        columns = {"catu": np.full(len(inputs), -1, dtype=np.int32)}
    complete = all(name in columns and bool((columns[name] >= 0).all()) for name in CONTEXT_COLUMNS)
    return Parties(columns, inputs, np.full(len(inputs), -1, dtype=np.int64), "full" if complete else "partial")


def from_accidents(accidents: Sequence[BaseModel]) -> Parties:
    """The full form: context is computed from everybody and everything in the accident."""
    vehicles: list[dict[str, Any]] = []
    vehicle_accident: list[int] = []
    users: list[dict[str, Any]] = []
    user_accident: list[int] = []
    user_vehicle: list[int] = []
    warnings: list[str] = []
    shared: list[dict[str, Any]] = []
    for position, accident in enumerate(accidents):
        said = given(accident)
        by_id: dict[str, int] = {}
        for vehicle in said.pop("vehicles", ()):
            fields = given(vehicle)
            name = fields.pop("id")
            if name in by_id:
                warnings.append(f"accidents/{position}: two vehicles have the same id; the first counts")
                continue
            by_id[name] = len(vehicles)
            vehicles.append(fields)
            vehicle_accident.append(position)
        for index, user in enumerate(said.pop("users")):
            fields = given(user)
            name = fields.pop("vehicle", None)
            if name is not None and name not in by_id:
                warnings.append(f"accidents/{position}/users/{index}: their vehicle is not listed; taken as unknown")
                by_id[name] = len(vehicles)
                vehicles.append({})
                vehicle_accident.append(position)
            users.append(fields)
            user_accident.append(position)
            user_vehicle.append(-1 if name is None else by_id[name])
        shared.append(said)

    of_accident = np.array(user_accident, dtype=np.int64)
    of_vehicle = np.array(user_vehicle, dtype=np.int64)
    user_columns, vehicle_columns = to_columns(users), to_columns(vehicles)
    columns: Columns = {name: values[of_accident] for name, values in to_columns(shared).items()}
    for name, values in vehicle_columns.items():
        # Position -1 (nobody's vehicle) reads the unknown that is put behind the last vehicle.
        columns[name] = np.append(values, np.array(-1, dtype=values.dtype))[of_vehicle]
    columns |= user_columns
    columns |= accident_context(
        of_accident,
        of_vehicle,
        {name: values.astype(np.int64) for name, values in user_columns.items() if values.dtype.kind == "i"},
        np.array(vehicle_accident, dtype=np.int64),
        {name: values.astype(np.int64) for name, values in vehicle_columns.items() if values.dtype.kind == "i"},
        len(accidents),
    )
    inputs = [
        # Its place in the request keeps people of one accident together in the log.
        _as_said(shared[a], vehicles[v] if v >= 0 else {}, user) | {"accident": a}
        for a, v, user in zip(user_accident, user_vehicle, users, strict=True)
    ]
    for name in CONTEXT_COLUMNS:
        for row, value in zip(inputs, columns[name].tolist(), strict=True):
            row[name] = value
    return Parties(columns, inputs, of_accident, "full", warnings)


def _as_said(accident: Mapping[str, Any], vehicle: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    return {**accident, **vehicle, **user}


KNOWN_FIELDS: Final = frozenset((*ACCIDENT_FIELDS, *VEHICLE_FIELDS, *USER_FIELDS, *CONTEXT_COLUMNS))
