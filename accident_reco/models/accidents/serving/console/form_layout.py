"""Which fields the form of a scene shows, where, and in which order; their words come from the codebook. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from accident_reco.models.accidents.serving.form_document import Codebook, CodebookField, build_codebook

Language = Literal["en", "fr"]
LANGUAGES: Final[Mapping[Language, str]] = {"en": "English", "fr": "Français"}

CONDITIONS: Final = ("lum", "atm", "surf", "agg", "int", "col")
ROAD: Final = ("catr", "vma")
MORE_ROAD: Final = ("circ", "nbv", "prof", "plan", "infra", "situ", "vosp")
PLACE: Final = ("lat", "long", "dep", "com")
TIME: Final = ("an", "mois", "jour", "hrmn")
ACCIDENT: Final = (*TIME, *CONDITIONS, *ROAD, *MORE_ROAD, *PLACE)
VEHICLE: Final = ("catv",)
MORE_VEHICLE: Final = ("motor", "senc", "manv", "choc", "obs", "obsm")
USER: Final = ("catu", "place", "sexe", "an_nais", "secu1")
MORE_USER: Final = ("secu2", "secu3", "trajet")
ON_FOOT: Final = ("locp", "actp", "etatp")
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "accident": ACCIDENT,
    "vehicle": (*VEHICLE, *MORE_VEHICLE),
    "user": (*USER, *MORE_USER, *ON_FOOT),
}
"""Part of a scene → its fields."""
_UNITS_FR: Final = {"degrees": "degrés"}
_OUTDATED: Final = ("(inutilisée", "(until 20")
"""Marks of codes that are not used any more; a form does not offer them."""


@dataclass(frozen=True)
class Control:
    """A field of the form in one language.

    Args:
        name: official name.
        label: the field's words.
        options: code and words, for a code.
        unit: of a number.
        kind: `code`, `integer`, `real` or `text`.
    """

    name: str
    label: str
    kind: str
    options: Sequence[tuple[str, str]]
    unit: str


class Words:
    """The codebook in one language, for the form and for answers.

    Args:
        inputs: columns that the champion reads; fields that it does not read are not shown. Empty: not known.
    """

    def __init__(self, language: Language, inputs: Collection[str] = (), codebook: Codebook | None = None) -> None:
        self.language: Language = language
        self._codebook = codebook or build_codebook()
        self._inputs = frozenset(inputs)

    @cached_property
    def _fields(self) -> Mapping[str, CodebookField]:
        return {field.name: field for field in self._codebook.fields}

    def controls(self, names: Sequence[str]) -> Iterator[Control]:
        """The controls of fields that the champion reads."""
        for name in names:
            if not self._inputs or name in self._inputs:
                yield self.control(name)

    def control(self, name: str) -> Control:
        """The control of a field."""
        field = self._fields[name]
        options = [(str(code.code), self._translate(code)) for code in field.codes or ()]
        current = [option for option in options if not any(mark in option[1] for mark in _OUTDATED)]
        return Control(name, self._translate(field), field.kind, current, self._translate_unit(field.unit))

    def name(self, column: str, otherwise: str = "") -> str:
        """Words of a field or context column; `otherwise` for one that this release does not know."""
        field = self._fields.get(column)
        return self._translate(field) if field else otherwise or column

    def value(self, column: str, value: object, otherwise: str = "") -> str:
        """Words of a value."""
        if column == "dep" and str(value) in self._codebook.departments:
            return f"{value} {self._codebook.departments[str(value)]}"
        field = self._fields.get(column)
        if field is None:
            return otherwise or str(value)
        for code in field.codes or ():
            if str(code.code) == str(value):
                return self._translate(code)
        return f"{value} {self._translate_unit(field.unit)}".rstrip()

    def rule(self, name: str, otherwise: str) -> str:
        """What a field takes, for a number; `otherwise` for a field of another kind."""
        field = self._fields[name]
        if field.low is None or field.high is None or name == "hrmn":
            return otherwise
        bounds = f"{field.low:g} {'à' if self.language == 'fr' else 'to'} {field.high:g}"
        return f"{bounds} {self._translate_unit(field.unit)}".rstrip()

    def severities(self) -> list[tuple[str, str]]:
        """Codes of the outcome with their words."""
        return [(str(code.code), self._translate(code)) for code in self._codebook.severity]

    def departments(self) -> list[tuple[str, str]]:
        """Codes of the departments with code and name."""
        return [(code, f"{code} {name}") for code, name in self._codebook.departments.items()]

    def _translate_unit(self, unit: str) -> str:
        return _UNITS_FR.get(unit, unit) if self.language == "fr" else unit

    def _translate(self, words: object) -> str:
        return str(getattr(words, self.language))


def choose_language(requested: str, accepted: str) -> Language:
    """The language of a page: the requested one, else the browser's first known one, else English."""
    if requested in LANGUAGES:
        return "fr" if requested == "fr" else "en"
    for part in accepted.lower().split(","):
        if part.strip()[:2] in LANGUAGES:
            return "fr" if part.strip()[:2] == "fr" else "en"
    return "en"
