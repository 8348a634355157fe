"""The strongest factors of a prediction in the codebook's words; the effects come from `explanations`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook import FIELDS, describe_code
from accident_reco.models.accidents.features.context import KINDS

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


@dataclass(frozen=True)
class Factor:
    """One factor: column, value in the request, value in words, and effect on the margin (log-odds for boosting).

    `value` is None where it is unknown, which has an effect too.
    """

    column: str
    name: str
    value: int | float | str | None
    words: str
    effect: float


def select_top_factors(
    contributions: Mapping[str, float], columns: Mapping[str, NDArray[Any]], row: int, max_factors: int
) -> list[Factor]:
    """The `most` strongest of `contributions` (column → effect, strongest first) for one row of raw columns."""
    factors = []
    for column, effect in list(contributions.items())[:max_factors]:
        value = _get_value(columns, column, row)
        name = CONTEXT_NAMES.get(column) or FIELDS[column].en
        factors.append(Factor(column, name, value, _describe(column, value), round(effect, 4)))
    return factors


def _get_value(columns: Mapping[str, NDArray[Any]], column: str, row: int) -> int | float | str | None:
    if column not in columns:
        return None
    value = columns[column][row]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value == "" or value == -1 or value != value:
        return None
    return value


def _describe(column: str, value: int | float | str | None) -> str:
    if value is None:
        return "unknown"
    if column == "other_kind":
        return KINDS[int(value)]
    field = FIELDS.get(_SAME_CODES.get(column, column))
    if field is not None and field.codes is not None:
        return describe_code(field.name, int(value))
    return f"{value} {field.unit}".strip() if field is not None else str(value)
