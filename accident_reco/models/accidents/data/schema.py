"""The canonical BAAC columns: names, types and order per table, and the headers under which they are published.

Names are the official ones. Codes are int16 with -1 for unknown, `Num_Acc` is int64, reals are float64 with NaN,
text is str or None. Meanings of the values are in the codebook, the conversion of published files is in `adapters`.
"""

from types import MappingProxyType
from typing import Final

from accident_reco.models.accidents.codebook import FIELDS, TABLES

CARACTERISTIQUES: Final = (
    *("Num_Acc", "an", "mois", "jour", "hrmn", "lum", "dep", "com", "agg", "int", "atm", "col"),
    *("adr", "lat", "long"),
)
LIEUX: Final = (
    *("Num_Acc", "catr", "voie", "v1", "v2", "circ", "nbv", "vosp", "prof", "pr", "pr1", "plan", "lartpc"),
    *("larrout", "surf", "infra", "situ", "vma", "env1"),
)
VEHICULES: Final = (
    *("Num_Acc", "id_vehicule", "num_veh", "senc", "catv", "obs", "obsm", "choc", "manv", "motor"),
    "occutc",
)
USAGERS: Final = (
    *("Num_Acc", "id_usager", "id_vehicule", "num_veh", "place", "catu", "grav", "sexe", "an_nais"),
    *("trajet", "secu1", "secu2", "secu3", "locp", "actp", "etatp"),
)

COLUMNS: Final = MappingProxyType(
    dict(zip(TABLES, (CARACTERISTIQUES, LIEUX, VEHICULES, USAGERS), strict=True)),
)

# Published until 2018 and read by the old adapter only: `secu` becomes secu1, `gps` names the projection of lat/long.
OLD_ONLY: Final = MappingProxyType({"usagers": ("secu",), "caracteristiques": ("gps",)})
# Columns that are not published in every year; all others must be in the header.
OPTIONAL: Final = frozenset(
    (
        *("id_usager", "id_vehicule", "vma", "motor", "env1", "gps", "secu", "secu1", "secu2"),
        *("secu3", "adr", "lartpc", "v1", "v2", "voie", "pr", "pr1", "occutc"),
    )
)
# Other published headers: the file of 2022 names the accident number Accident_Id.
ALIASES: Final = MappingProxyType({"accident_id": "Num_Acc", "num_acc": "Num_Acc"})

TEXT: Final = frozenset(name for name, field in FIELDS.items() if field.kind == "text")
REAL: Final = frozenset(name for name, field in FIELDS.items() if field.kind == "real")

# The victims frame: accident, main road, vehicle, road user. Context columns follow (see `features.context`).
VICTIM_COLUMNS: Final = (
    *CARACTERISTIQUES,
    *(name for name in LIEUX if name not in ("Num_Acc", "env1")),
    *(name for name in VEHICULES if name not in ("Num_Acc", "id_vehicule", "num_veh")),
    *(name for name in USAGERS if name != "Num_Acc"),
)


def get_dtype(name: str) -> str:
    """numpy dtype of a canonical column."""
    if name == "Num_Acc":
        return "int64"
    if name in TEXT:
        return "object"
    return "float64" if name in REAL else "int16"


def to_official_name(header: str) -> str | None:
    """The canonical name of a published header cell of any case; None if no year has such a column."""
    cell = header.strip().strip("\ufeff").strip('"').strip().lower()
    if cell in ALIASES:
        return ALIASES[cell]
    if cell in FIELDS or cell in ("secu", "gps"):
        return cell
    return None
