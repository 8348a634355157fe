"""What callers may say about accidents: BAAC columns by their official names, checked against the codebook.

Types and descriptions come from the codebook, so the API's documentation lists every code with its words. Turning
valid requests into the scorer's columns is `accident_columns`' part.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, create_model

from accident_reco.accidents import codebook, schema
from accident_reco.accidents.context import CONTEXT_COLUMNS

MAX_RECORDS: Final = 1000
# The largest accident of twenty years of BAAC had under 120 users.
MAX_PER_ACCIDENT: Final = 200
MAX_USERS: Final = 5000
MAX_TEXT: Final = 200

# `grav` is what is predicted; the keys that tie published tables together have no meaning inside one request.
ACCIDENT_FIELDS: Final = tuple(n for n in (*schema.CARACTERISTIQUES, *schema.LIEUX) if n in codebook.FIELDS)
VEHICLE_FIELDS: Final = tuple(n for n in schema.VEHICULES if n not in ("Num_Acc", "id_vehicule", "num_veh"))
USER_FIELDS: Final = tuple(
    n for n in schema.USAGERS if n not in ("Num_Acc", "id_vehicule", "num_veh", "id_usager", "grav")
)
RECORD_FIELDS: Final = tuple(
    dict.fromkeys((*ACCIDENT_FIELDS, *VEHICLE_FIELDS, *USER_FIELDS, "id_vehicule", "num_veh", "id_usager"))
)

_LETTERS: Final = ("A", "B")
_HOUR: Final = r"^([01]?[0-9]|2[0-3]):[0-5][0-9]$"


def _annotation(name: str) -> tuple[Any, Any]:
    """Type and default of one BAAC field."""
    spec = codebook.field(name)
    title = f"{spec.en} ({spec.fr})"
    if spec.codes is not None:
        words = "; ".join(f"{code} {english}" for code, (_, english) in spec.codes.items())
        allowed: tuple[Any, ...] = tuple(dict.fromkeys((codebook.UNKNOWN, *spec.codes)))
        if name == "actp":
            allowed += _LETTERS
        return Literal[allowed] | None, Field(None, description=f"{title}: {words}; -1 or absent: unknown")
    if name == "hrmn":
        number = Annotated[int, Field(strict=True, ge=-1, le=2359)]
        return (
            Annotated[str, Field(pattern=_HOUR)] | number | None,
            Field(None, description='Local time, "17:45" or 1745; -1 or absent: unknown'),
        )
    if spec.kind == "text":
        return Annotated[str, Field(max_length=MAX_TEXT)] | None, Field(None, description=title)
    said = f"{title}: {spec.allowed}; -1 or absent: unknown"
    if spec.kind == "real":
        ranged = Annotated[float, Field(strict=True, ge=min(spec.low or 0.0, -1.0), le=spec.high, allow_inf_nan=False)]
        return ranged | None, Field(None, description=said)
    within = Annotated[int, Field(strict=True, ge=int(spec.low or 0), le=int(spec.high or 0))]
    return within | Literal[-1] | None, Field(None, description=said)


def _context_annotation() -> tuple[Any, Any]:
    count = Annotated[int, Field(strict=True, ge=-1, le=9999)]
    return count | None, Field(None, description="Context column (computed in the nested form); -1 or absent: unknown")


class _Strict(BaseModel):
    # A misspelt field would silently be "unknown": refuse it.
    model_config = ConfigDict(extra="forbid")


def _fields(names: Iterable[str]) -> dict[str, Any]:
    return {name: _annotation(name) for name in names}


_ID = Annotated[str, Field(min_length=1, max_length=40)]

Vehicle: type[BaseModel] = create_model(  # type: ignore[call-overload]
    "Vehicle",
    __base__=_Strict,
    __doc__="A vehicle of the accident, whether or not anybody was in it.",
    id=(_ID, Field(description="Any name that users refer to, unique within the accident")),
    **_fields(VEHICLE_FIELDS),
)

User: type[BaseModel] = create_model(  # type: ignore[call-overload]
    "User",
    __base__=_Strict,
    __doc__="A road user: driver, passenger or pedestrian.",
    vehicle=(_ID | None, Field(None, description="Their vehicle's id; for a pedestrian the vehicle that hit them")),
    **_fields(USER_FIELDS),
)

Accident: type[BaseModel] = create_model(  # type: ignore[call-overload]
    "Accident",
    __base__=_Strict,
    __doc__="One accident with everybody and everything that took part.",
    vehicles=(Annotated[list[Vehicle], Field(max_length=MAX_PER_ACCIDENT)], Field(default_factory=list)),  # type: ignore[valid-type]
    users=(Annotated[list[User], Field(min_length=1, max_length=MAX_PER_ACCIDENT)], ...),  # type: ignore[valid-type]
    **_fields(ACCIDENT_FIELDS),
)

Record: type[BaseModel] = create_model(  # type: ignore[call-overload]
    "Record",
    __base__=_Strict,
    __doc__="One road user with what is known of the accident and the vehicle.",
    **_fields(RECORD_FIELDS),
    **{name: _context_annotation() for name in CONTEXT_COLUMNS},
)


class AccidentsRequest(_Strict):
    """The full form: whole accidents."""

    accidents: Annotated[list[Accident], Field(min_length=1, max_length=MAX_RECORDS)] = Field(  # type: ignore[valid-type]
        description=f"1 to {MAX_RECORDS} accidents, at most {MAX_USERS} users together"
    )


class RecordsRequest(_Strict):
    """The short form: single road users, context unknown unless given."""

    records: Annotated[list[Record], Field(min_length=1, max_length=MAX_RECORDS)] = Field(  # type: ignore[valid-type]
        description=f"1 to {MAX_RECORDS} road users"
    )


def _form(value: Any) -> str:
    """Which form a body has: that of the key it holds."""
    if isinstance(value, dict):
        return "accidents" if "accidents" in value else "records"
    return "accidents" if isinstance(value, AccidentsRequest) else "records"


PredictRequest = Annotated[
    Annotated[AccidentsRequest, Tag("accidents")] | Annotated[RecordsRequest, Tag("records")], Discriminator(_form)
]
