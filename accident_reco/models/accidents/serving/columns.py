"""From validated requests to the scorer's columns: official name → numpy array, unknown as -1, NaN or None."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import chain
from operator import itemgetter
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


class RawRows:
    """Raw columns of so many rows, built when they are first read: of requests that are scored together, never.

    Args:
        values: valid values of each field that any row has, None where it is unknown.
        columns: the columns themselves, where they are there.
    """

    def __init__(self, n: int, values: Mapping[str, Sequence[Any]], columns: Columns | None = None) -> None:
        self.n, self.values = n, values
        self.is_built = columns is not None
        if columns is not None:
            self.columns = columns

    @cached_property
    def columns(self) -> Columns:
        """Raw columns, each of shape (n,)."""
        # Rows without any field are valid: everything is unknown.
        return to_columns(self.values) or {"catu": np.full(self.n, codebook.UNKNOWN, dtype=np.int32)}


def merge_rows(parts: Sequence[RawRows]) -> RawRows:
    """The rows of several requests, in order; what a request does not have is unknown in its rows."""
    n = sum(part.n for part in parts)
    if any(part.is_built for part in parts):
        return RawRows(n, {}, merge_columns([part.columns for part in parts]))
    names = dict.fromkeys(chain.from_iterable(part.values for part in parts))
    given = [(part.values, (None,) * part.n) for part in parts]
    return RawRows(n, {name: [*chain.from_iterable(v.get(name, unknown) for v, unknown in given)] for name in names})


@dataclass
class ScoringRows:
    """Rows to score, one per road user.

    Args:
        raw: their raw columns.
        inputs: the rows as requested, for the log.
        accident: position of each row's accident in the request, shape (n,); None for `records`.
        context: `full` or `partial`.
    """

    raw: RawRows
    inputs: list[dict[str, Any]]
    accident: NDArray[np.int64] | None
    context: str
    warnings: list[str] = field(default_factory=list)

    @property
    def columns(self) -> Columns:
        """Raw columns, each of shape (n,)."""
        return self.raw.columns


def to_columns(values: Mapping[str, Sequence[Any]]) -> Columns:
    """Columns of valid values, n of each field with None where it is unknown; each of shape (n,)."""
    columns: Columns = {}
    numbers: dict[str, Sequence[Any]] = {}
    for name, given in values.items():
        kind = _KIND.get(name, "int32")
        if kind == "text":
            columns[name] = np.array(given, dtype=object)
        elif kind == "real":
            columns[name] = reals = np.array(given, dtype=np.float64)
            if name in _MINUS_ONE_IS_UNKNOWN:
                reals[reals == codebook.UNKNOWN] = np.nan
        else:
            if kind == "notation":
                given = [_parse_notation(name, value) if type(value) is str else value for value in given]
            if None in given:
                given = [codebook.UNKNOWN if value is None else value for value in given]
            if kind == "int64":
                columns[name] = np.array(given, dtype=np.int64)
            else:
                numbers[name] = given
    # One array for all of them: for a single row, an array each would take longer than their features.
    block = np.array(list(numbers.values()), dtype=np.int32)
    return columns | dict(zip(numbers, block, strict=True))


_parse_notation: Final = lru_cache(maxsize=4096)(codebook.to_number)


def transpose(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, list[Any]]:
    """Values of each field of any row, by `names`; None where a row has none."""
    if len(rows) == 1:
        return {name: [value] for name, value in rows[0].items()}
    names = sorted(names)
    if len(names) > 1 and sum(map(len, rows)) == len(names) * len(rows):  # every row has all of them
        return dict(zip(names, map(list, zip(*map(itemgetter(*names), rows), strict=True)), strict=True))
    return {name: [row.get(name) for row in rows] for name in names}


def _rows_to_columns(rows: Sequence[Mapping[str, Any]]) -> Columns:
    return to_columns(transpose(rows, dict.fromkeys(chain.from_iterable(rows))))


def merge_columns(parts: Sequence[Columns]) -> Columns:
    """Columns of the rows of several requests, in order; what a request does not have is unknown in its rows."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: np.concatenate([_get_column(part, name) for part in parts]) for name in names}


def _get_column(columns: Columns, name: str) -> NDArray[Any]:
    if name in columns:
        return columns[name]
    rows = len(next(iter(columns.values())))
    return to_columns({name: [None] * rows})[name]


def get_provided_fields(model: BaseModel) -> dict[str, Any]:
    """Fields of the request that are set and not null."""
    values = model.__dict__
    return {name: values[name] for name in model.model_fields_set if values[name] is not None}


def from_records(records: list[dict[str, Any]], values: Mapping[str, Sequence[Any]], is_converted: bool) -> ScoringRows:
    """Rows of `records`: one road user each, with the context that the record states.

    Args:
        values: valid values of each field that any record has, as `transpose` returns them.
        is_converted: whether any of them is not what the record has. If none is, the log needs no other records.
    """
    complete = all(name in values and all(map(_is_known, values[name])) for name in CONTEXT_COLUMNS)
    inputs = records
    if is_converted:
        inputs = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    if any(None in column for column in values.values()):
        inputs = [{name: value for name, value in row.items() if value is not None} for row in inputs]
    return ScoringRows(RawRows(len(records), values), inputs, None, "full" if complete else "partial")


def _is_known(value: int | None) -> bool:
    return value is not None and value != codebook.UNKNOWN


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
    user_columns, vehicle_columns = _rows_to_columns(users), _rows_to_columns(vehicles)
    columns: Columns = {name: values[of_accident] for name, values in _rows_to_columns(shared).items()}
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
    return ScoringRows(RawRows(len(inputs), {}, columns), inputs, of_accident, "full", warnings)
