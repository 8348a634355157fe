"""The codebook as one JSON document, in French and English, for forms and other clients of the API. Pure.

How a form arranges the fields is the matter of the form.
"""

from __future__ import annotations

from functools import cache
from typing import Final, Literal

from pydantic import BaseModel, Field

from accident_reco.models.accidents import codebook
from accident_reco.models.accidents.codebook.context_words import CONTEXT_FR, KINDS_FR
from accident_reco.models.accidents.codebook.departments import DEPARTMENTS
from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS, CONTEXT_NAMES, KINDS
from accident_reco.models.accidents.serving.request import ACCIDENT_FIELDS, USER_FIELDS, VEHICLE_FIELDS

Part = Literal["accident", "vehicle", "user"]
_PARTS: Final[dict[str, Part]] = {
    **dict.fromkeys(ACCIDENT_FIELDS, "accident"),
    **dict.fromkeys(VEHICLE_FIELDS, "vehicle"),
    **dict.fromkeys(USER_FIELDS, "user"),
}


class Words(BaseModel):
    """A name in both languages."""

    fr: str
    en: str


class CodeWords(Words):
    """A code with its description."""

    code: int


class CodebookField(Words):
    """A field of the request."""

    name: str = Field(description="Official BAAC name")
    part: Literal["accident", "vehicle", "user", "context"] = Field(description="Part of the accident that has it")
    kind: str = Field(description="`code`, `integer`, `real` or `text`")
    codes: list[CodeWords] | None = Field(default=None, description="Official codes, for `code`")
    low: float | None = Field(default=None, description="Minimum of a number")
    high: float | None = Field(default=None, description="Maximum of a number")
    unit: str = ""


class Codebook(BaseModel):
    """Fields of the requests, with their codes in both languages."""

    unknown: CodeWords
    fields: list[CodebookField]
    severity: list[CodeWords] = Field(description="Codes of `grav`, the outcome that feedback reports")
    departments: dict[str, str] = Field(description="INSEE code → name")


@cache
def build_codebook() -> Codebook:
    """The document; the same object in every call."""
    fields = [_build_field(name, part) for name, part in _PARTS.items()]
    fields += [_build_context_field(name) for name in CONTEXT_COLUMNS]
    unknown = {language: codebook.describe_code("grav", codebook.UNKNOWN, language) for language in ("fr", "en")}
    return Codebook(
        unknown=CodeWords(code=codebook.UNKNOWN, **unknown),
        fields=fields,
        severity=_build_codes("grav") or [],
        departments=dict(DEPARTMENTS),
    )


def _build_field(name: str, part: Part) -> CodebookField:
    spec = codebook.get_field(name)
    return CodebookField(
        name=name,
        part=part,
        kind=spec.kind,
        fr=spec.fr,
        en=spec.en,
        codes=_build_codes(name),
        low=spec.low,
        high=spec.high,
        unit=spec.unit,
    )


def _build_codes(name: str) -> list[CodeWords] | None:
    codes = codebook.get_field(name).codes
    if codes is None:
        return None
    return [CodeWords(code=code, fr=french, en=english) for code, (french, english) in codes.items()]


def _build_context_field(name: str) -> CodebookField:
    codes = None
    if name == "other_kind":
        codes = [CodeWords(code=code, en=kind, fr=KINDS_FR[kind]) for code, kind in enumerate(KINDS)]
    elif name.endswith("_sexe"):
        codes = _build_codes("sexe")
    kind = "integer" if codes is None else "code"
    return CodebookField(name=name, part="context", kind=kind, fr=CONTEXT_FR[name], en=CONTEXT_NAMES[name], codes=codes)
