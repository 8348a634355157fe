"""Which fields of a record are known, and the field by which a known feature is named. Scores nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook import FIELDS, describe_code
from accident_reco.models.accidents.features.context import KINDS

Value = int | float | str | None

# Names of the context columns; those of BAAC columns are in the codebook.
CONTEXT_NAMES: Final[dict[str, str]] = {
    "nb_users": "Road users in the accident",
    "nb_vehicles": "Vehicles in the accident",
    "nb_pedestrians": "Pedestrians in the accident",
    "nb_occupants": "Road users in the same vehicle",
    "nb_cycles": "Cycles in the accident",
    "nb_two_wheeled": "Mopeds and motorcycles in the accident",
    "nb_light": "Cars and vans in the accident",
    "nb_heavy": "Heavy vehicles in the accident",
    "other_kind": "Heaviest other vehicle, against the own one",
    "driver_an_nais": "Year of birth of the driver",
    "driver_sexe": "Sex of the driver",
    "other_an_nais": "Year of birth of the other party",
    "other_sexe": "Sex of the other party",
    "nb_unknown_users": "Road users with unknown sex and birth year",
    "others_vulnerable": "Others on foot or two wheels",
    "others_riding": "Others on a moped or motorcycle",
    "others_cycling": "Others on a cycle",
    "others_in_cars": "Others in a car or van",
    "others_unprotected": "Others without belt or helmet",
    "vehicle_unprotected": "Others in the vehicle without belt",
}
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
