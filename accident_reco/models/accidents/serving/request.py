"""Request schemas of the accident endpoints: BAAC columns by their official names, validated against the codebook.

Types and descriptions come from the codebook, so the API's documentation describes every code. The conversion of valid
requests to the scorer's columns is in `columns`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
    create_model,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from accident_reco.models.accidents import codebook
from accident_reco.models.accidents.data import schema
from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS, get_context_bounds
from accident_reco.models.accidents.serving.record_columns import AsRows
from serving.common.body_limits import FewErrors

if TYPE_CHECKING:
    from accident_reco.models.accidents.serving.columns import ScoringRows

MAX_RECORDS: Final = 1000
# The largest accident of twenty years of BAAC had under 120 users.
MAX_PER_ACCIDENT: Final = 200
MAX_USERS: Final = 5000
MAX_TEXT: Final = 200
# Accident numbers are only keys here; the maximum fits into a 64-bit integer and a JSON number.
MAX_NUMBER: Final = 10**15

# Without `grav`, which is predicted, and the keys that join published tables, which nesting replaces.
ACCIDENT_FIELDS: Final = tuple(n for n in (*schema.CARACTERISTIQUES, *schema.LIEUX) if n in codebook.FIELDS)
VEHICLE_FIELDS: Final = tuple(n for n in schema.VEHICULES if n not in ("Num_Acc", "id_vehicule", "num_veh"))
USER_FIELDS: Final = tuple(
    n for n in schema.USAGERS if n not in ("Num_Acc", "id_vehicule", "num_veh", "id_usager", "grav")
)
RECORD_FIELDS: Final = tuple(
    dict.fromkeys((*ACCIDENT_FIELDS, *VEHICLE_FIELDS, *USER_FIELDS, "id_vehicule", "num_veh", "id_usager"))
)

_LETTERS: Final = ("A", "B")
_TIME_PATTERN: Final = r"^([01]?[0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$"
_UNKNOWN_HINT: Final = "-1 or absent: unknown"


def _build_integer_schema(inner: CoreSchema) -> CoreSchema:
    """Schema of integers that may be written as 2021.0, as in JSON; true and "1" are rejected."""
    written_as_float = core_schema.chain_schema(
        [core_schema.float_schema(strict=True), core_schema.no_info_plain_validator_function(_to_int), inner]
    )
    return core_schema.union_schema([inner, written_as_float], mode="left_to_right")


def _to_int(value: float) -> int:
    if not value.is_integer():
        raise ValueError("not a whole number")
    return int(value)


def _build_unknown_schema() -> CoreSchema:
    return core_schema.chain_schema(
        [core_schema.int_schema(strict=True), core_schema.literal_schema([codebook.UNKNOWN])]
    )


class BaacValue:
    """Annotation of a BAAC field: valid values of the codebook, or null; errors state the rule, not the value."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.spec = codebook.get_field(name)
        self.title = f"{self.spec.en} ({self.spec.fr})"

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return self.build_schema()

    def build_schema(self) -> CoreSchema:
        """Schema of one value."""
        inner, rule = self._validation()
        named = core_schema.custom_error_schema(inner, custom_error_type="baac_value", custom_error_message=rule)
        return core_schema.nullable_schema(named)

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [*self._documentation(), {"type": "null"}], "description": self._describe()}

    @property
    def _allowed(self) -> list[int]:
        return list(dict.fromkeys((codebook.UNKNOWN, *(self.spec.codes or ()))))

    def _validation(self) -> tuple[CoreSchema, str]:
        spec, name = self.spec, self.spec.name
        rule = f"{name} ({spec.en.lower()}) takes {spec.allowed}, or -1 for unknown"
        # Strict: JSON's true is not the code 1, and "1" is not a number.
        integer = core_schema.int_schema(strict=True)
        if spec.codes is not None:
            code = _build_integer_schema(core_schema.chain_schema([integer, core_schema.literal_schema(self._allowed)]))
            if name == "actp":
                letter = core_schema.literal_schema(list(_LETTERS))
                return core_schema.union_schema([code, letter], mode="left_to_right"), rule
            return code, rule
        if name == "Num_Acc":
            return _build_integer_schema(
                core_schema.int_schema(strict=True, ge=-1, le=MAX_NUMBER)
            ), f"Num_Acc takes -1 to {MAX_NUMBER}"
        if name == "hrmn":
            clock = core_schema.str_schema(strict=True, pattern=_TIME_PATTERN)
            number = _build_integer_schema(core_schema.int_schema(strict=True, ge=-1, le=2359))
            # Chosen by type: an error of one of them takes longer than everything else about a record.
            return (
                core_schema.tagged_union_schema({True: clock, False: number}, lambda value: isinstance(value, str)),
                'hrmn (local time) takes "17:45" or 1745, or -1 for unknown',
            )
        if spec.kind == "text":
            text = core_schema.str_schema(strict=True, max_length=MAX_TEXT)
            return text, f"{name} takes text of at most {MAX_TEXT} characters"
        if spec.kind == "real":
            return core_schema.float_schema(
                strict=True, ge=min(spec.low or 0.0, -1.0), le=spec.high, allow_inf_nan=False
            ), rule
        within = core_schema.int_schema(strict=True, ge=int(spec.low or 0), le=int(spec.high or 0))
        return _build_integer_schema(
            core_schema.union_schema([within, _build_unknown_schema()], mode="left_to_right")
        ), rule

    def _documentation(self) -> list[dict[str, Any]]:
        spec = self.spec
        if spec.codes is not None:
            letters = [{"type": "string", "enum": list(_LETTERS)}] if spec.name == "actp" else []
            return [{"type": "integer", "enum": self._allowed}, *letters]
        if spec.name == "Num_Acc":
            return [{"type": "integer", "minimum": -1, "maximum": MAX_NUMBER}]
        if spec.name == "hrmn":
            return [{"type": "string", "pattern": _TIME_PATTERN}, {"type": "integer", "minimum": -1, "maximum": 2359}]
        if spec.kind == "text":
            return [{"type": "string", "maxLength": MAX_TEXT}]
        if spec.kind == "real":
            return [{"type": "number", "minimum": min(spec.low or 0.0, -1.0), "maximum": spec.high}]
        return [
            {"type": "integer", "minimum": int(spec.low or 0), "maximum": int(spec.high or 0)},
            {"type": "integer", "enum": [codebook.UNKNOWN]},
        ]

    def _describe(self) -> str:
        spec = self.spec
        if spec.codes is not None:
            words = "; ".join(f"{code} {english}" for code, (_, english) in spec.codes.items())
            return f"{self.title}: {words}; {_UNKNOWN_HINT}"
        if spec.kind == "text":
            return self.title
        return (
            f'{self.title}: "17:45" or 1745; {_UNKNOWN_HINT}'
            if spec.name == "hrmn"
            else (f"{self.title}: {spec.allowed}; {_UNKNOWN_HINT}")
        )


class ContextValue(BaacValue):
    """Annotation of a context column."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.low, self.high = get_context_bounds(name)

    def _validation(self) -> tuple[CoreSchema, str]:
        within = core_schema.int_schema(strict=True, ge=self.low, le=self.high)
        rule = f"{self.name} takes {self.low} to {self.high}, or -1 for unknown"
        return _build_integer_schema(
            core_schema.union_schema([within, _build_unknown_schema()], mode="left_to_right")
        ), rule

    def _documentation(self) -> list[dict[str, Any]]:
        return [
            {"type": "integer", "minimum": self.low, "maximum": self.high},
            {"type": "integer", "enum": [codebook.UNKNOWN]},
        ]

    def _describe(self) -> str:
        return f"Computed from the other parties for whole accidents; {_UNKNOWN_HINT}"


class _Strict(BaseModel):
    # A misspelt field must be an error, or its value would silently be unknown.
    model_config = ConfigDict(extra="forbid")


def _build_fields(values: Iterable[BaacValue]) -> dict[str, Any]:
    return {value.name: (Annotated[Any, value], None) for value in values}


_ID = Annotated[str, Field(min_length=1, max_length=40)]

Vehicle: type[BaseModel] = create_model(
    "Vehicle",
    __base__=_Strict,
    __doc__="A vehicle of the accident, with or without occupants.",
    id=(_ID, Field(description="Any name for references from users, unique within the accident")),
    **_build_fields(map(BaacValue, VEHICLE_FIELDS)),
)

User: type[BaseModel] = create_model(
    "User",
    __base__=_Strict,
    __doc__="A road user: driver, passenger or pedestrian.",
    vehicle=(
        _ID | None,
        Field(None, description="Id of the user's vehicle; for a pedestrian of the vehicle that hit them"),
    ),
    **_build_fields(map(BaacValue, USER_FIELDS)),
)

# Fixed fields, and those that are generated from the codebook.
_ACCIDENT: dict[str, Any] = {
    "vehicles": (
        Annotated[list[Vehicle], Field(max_length=MAX_PER_ACCIDENT), FewErrors()],  # type: ignore[valid-type]
        Field(default_factory=list),
    ),
    "users": (Annotated[list[User], Field(min_length=1, max_length=MAX_PER_ACCIDENT), FewErrors()], ...),  # type: ignore[valid-type]
    **_build_fields(map(BaacValue, ACCIDENT_FIELDS)),
}
_RECORD: dict[str, BaacValue] = {name: BaacValue(name) for name in RECORD_FIELDS} | {
    name: ContextValue(name) for name in CONTEXT_COLUMNS
}

Accident: type[BaseModel] = create_model(
    "Accident", __base__=_Strict, __doc__="One accident with all of its users and vehicles.", **_ACCIDENT
)

Record: type[BaseModel] = create_model(
    "Record",
    __base__=_Strict,
    __doc__="One road user with known fields of accident and vehicle.",
    **_build_fields(_RECORD.values()),
)


class AccidentsRequest(_Strict):
    """Whole accidents."""

    accidents: Annotated[list[Accident], Field(min_length=1, max_length=MAX_RECORDS), FewErrors()] = Field(  # type: ignore[valid-type]
        description=f"1 to {MAX_RECORDS} accidents, at most {MAX_USERS} users together"
    )


class RecordsRequest(_Strict):
    """Single road users, with unknown context unless it is stated."""

    records: Annotated[
        list[Record],  # type: ignore[valid-type]
        Field(min_length=1, max_length=MAX_RECORDS),
        FewErrors(),
        AsRows(_RECORD, MAX_RECORDS),
    ] = Field(description=f"1 to {MAX_RECORDS} road users")

    @property
    def rows(self) -> ScoringRows:
        """The records, which `AsRows` has validated."""
        return cast("ScoringRows", self.records)


def _select_form(value: Any) -> str:
    """Tag of the form of a body, by its key."""
    if isinstance(value, dict):
        return "form:accidents" if "accidents" in value else "form:records"
    return "form:accidents" if isinstance(value, AccidentsRequest) else "form:records"


# Error answers omit parts of a location that begin with "form:", since they are not in the request.
PredictRequest = Annotated[
    Annotated[AccidentsRequest, Tag("form:accidents")] | Annotated[RecordsRequest, Tag("form:records")],
    Discriminator(_select_form),
]
