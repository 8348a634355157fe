"""Which fields of a record are known, and the field by which a known feature is named. Scores nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook import FIELDS, describe_code
from accident_reco.models.accidents.features.context_columns import CONTEXT_NAMES, KINDS

Value = int | float | str | None

_SAME_CODES: Final = {"driver_sexe": "sexe", "other_sexe": "sexe"}
# Fields that inform the same features: the first known one names the factor.
ALTERNATIVES: Final[dict[str, tuple[str, ...]]] = {
    "com": ("com", "lat", "dep"),
    "secu1": ("secu1", "secu2", "secu3"),
}


def get_value(columns: Mapping[str, NDArray[Any]], column: str, row: int) -> Value:
    """Value of one field of a row; None where it is unknown."""
    if column not in columns:
        return None
    value = columns[column][row]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value == "" or value == -1 or value != value:
        return None
    return value


def resolve_field(columns: Mapping[str, NDArray[Any]], column: str, row: int) -> tuple[str, Value]:
    """The field by which the features of a column are known, and its value.

    Coordinates stand for an unknown municipality, for example; the column itself and None where none is known.
    """
    for name in ALTERNATIVES.get(column, (column,)):
        value = get_value(columns, name, row)
        if value is not None:
            return name, value
    return column, None


def get_name(column: str) -> str:
    """Description of a BAAC or context column."""
    return CONTEXT_NAMES.get(column) or FIELDS[column].en


def describe_value(column: str, value: Value) -> str:
    """A value in the codebook's words; `unknown` for None."""
    if value is None:
        return "unknown"
    if column == "other_kind":
        return KINDS[int(value)]
    field = FIELDS.get(_SAME_CODES.get(column, column))
    if field is not None and field.codes is not None:
        return describe_code(field.name, int(value))
    return f"{value} {field.unit}".strip() if field is not None else str(value)
