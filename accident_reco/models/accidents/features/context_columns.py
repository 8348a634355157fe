"""Names and bounds of the context columns, without numpy: for request schemas, forms and documentation."""

from __future__ import annotations

from typing import Final

from accident_reco.models.accidents.codebook import FIELDS

# Kinds of vehicle, ordered so that the highest code among several is the heaviest party.
KINDS: Final[tuple[str, ...]] = (
    *("none", "other", "personal mobility device", "bicycle", "moped", "motorcycle", "quad or microcar"),
    *("car", "van", "agricultural or special", "bus or coach", "heavy goods vehicle", "train or tram"),
)
N_KINDS: Final = len(KINDS)

CONTEXT_COLUMNS: Final[tuple[str, ...]] = (
    *(
        "nb_users",
        "nb_vehicles",
        "nb_pedestrians",
        "nb_occupants",
        "nb_cycles",
        "nb_two_wheeled",
        "nb_light",
        "nb_heavy",
    ),
    *("other_kind", "driver_an_nais", "driver_sexe", "other_an_nais", "other_sexe", "nb_unknown_users"),
    *("others_vulnerable", "others_riding", "others_cycling", "others_in_cars", "others_unprotected"),
    "vehicle_unprotected",
)
MAX_COUNT: Final = 9999


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


def get_context_bounds(name: str) -> tuple[int, int]:
    """Minimum and maximum of a context column; -1 for unknown is valid as well."""
    if name == "other_kind":
        return 0, N_KINDS - 1
    base = name.removeprefix("driver_").removeprefix("other_")
    if base in FIELDS:
        spec = FIELDS[base]
        known = list(spec.codes) if spec.codes else [int(spec.low or 0), int(spec.high or 0)]
        return min(known), max(known)
    return 0, MAX_COUNT
