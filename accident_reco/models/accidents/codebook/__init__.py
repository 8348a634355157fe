"""Meaning and valid values of every BAAC field, for readers, checks, API errors, model cards and pages.

Codes and their descriptions are the official ones (ONISR, "Description des bases de données annuelles des accidents
corporels de la circulation routière", editions 2018, 2021 and 2023); ranges of numbers are defined here. Servers import
it, so it imports neither numpy nor pandas and reads no file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from types import MappingProxyType

from accident_reco.models.accidents.codebook.locations import CARACTERISTIQUES, LIEUX
from accident_reco.models.accidents.codebook.notation import parse_clock, parse_number
from accident_reco.models.accidents.codebook.road_users import USAGERS
from accident_reco.models.accidents.codebook.vehicles import VEHICULES

UNKNOWN = -1
SEVERE = (2, 3)
"""`grav` codes of the target: killed, hospitalised."""
TABLES = ("caracteristiques", "lieux", "vehicules", "usagers")
# ``actp`` is the only field with letters; they are stored as the integers 10 and 11.
LETTERS = MappingProxyType({"A": 10, "B": 11})
_LETTER_OF = MappingProxyType({number: letter for letter, number in LETTERS.items()})


@dataclass(frozen=True)
class Field:
    """One BAAC column: a code with descriptions, a number with an inclusive range, or free text."""

    name: str
    table: str
    fr: str
    en: str
    codes: Mapping[int, tuple[str, str]] | None = None
    low: float | None = None
    high: float | None = None
    real: bool = False
    unit: str = ""

    @property
    def kind(self) -> str:
        """``code``, ``integer``, ``real`` or ``text``."""
        if self.codes is not None:
            return "code"
        if self.low is None:
            return "text"
        return "real" if self.real else "integer"

    @cached_property
    def allowed(self) -> str:
        """Valid values for error messages: ``{1, 2, 3, 4}`` or ``5 to 130 km/h``."""
        if self.codes is not None:
            shown = [_LETTER_OF.get(code, str(code)) if self.name == "actp" else str(code) for code in self.codes]
            return "{" + ", ".join(shown) + "}"
        if self.low is None:
            return "text"
        return f"{self.low:g} to {self.high:g} {self.unit}".rstrip()

    def accepts(self, value: float) -> bool:
        """Whether a number is a code or within the range. Unknown (-1) is not a code: callers handle it first."""
        if self.codes is not None:
            return value in self.codes
        return self.low is None or self.high is None or self.low <= value <= self.high


def _build_coded_fields(table: str, rubric: Mapping[str, tuple[str, str, str]]) -> list[Field]:
    fields = []
    for name, (fr, en, lines) in rubric.items():
        rows = [[part.strip() for part in line.split("|")] for line in lines.strip().splitlines()]
        codes = MappingProxyType({int(code): (french, english) for code, french, english in rows})
        fields.append(Field(name, table, fr, en, codes))
    return fields


_UNCODED_FIELDS = [
    Field(
        "Num_Acc",
        "caracteristiques",
        "Numéro de l'accident",
        "Accident number",
        low=200_500_000_000,
        high=209_999_999_999,
    ),
    Field("an", "caracteristiques", "Année", "Year", low=2005, high=2099),
    Field("mois", "caracteristiques", "Mois", "Month", low=1, high=12),
    Field("jour", "caracteristiques", "Jour", "Day of the month", low=1, high=31),
    Field("hrmn", "caracteristiques", "Heure et minutes", "Local time as HHMM", low=0, high=2359),
    Field("dep", "caracteristiques", "Département (code INSEE)", "Department (INSEE code)"),
    Field("com", "caracteristiques", "Commune (code INSEE)", "Municipality (INSEE code)"),
    Field("adr", "caracteristiques", "Adresse postale", "Address"),
    Field("lat", "caracteristiques", "Latitude", "Latitude", low=-90, high=90, real=True, unit="degrees"),
    Field("long", "caracteristiques", "Longitude", "Longitude", low=-180, high=180, real=True, unit="degrees"),
    Field("voie", "lieux", "Numéro de la route", "Road number"),
    Field("v1", "lieux", "Indice numérique de la route", "Numeric suffix of the road"),
    Field("v2", "lieux", "Indice alphanumérique de la route", "Letter of the road"),
    Field("nbv", "lieux", "Nombre de voies", "Number of lanes", low=1, high=50),
    Field("pr", "lieux", "PR de rattachement", "Kilometre post"),
    Field("pr1", "lieux", "Distance au PR", "Distance to the kilometre post, in metres"),
    Field(
        "lartpc",
        "lieux",
        "Largeur du terre-plein central",
        "Width of the central reservation",
        low=0.1,
        high=100,
        real=True,
        unit="m",
    ),
    Field(
        "larrout", "lieux", "Largeur de la chaussée", "Width of the carriageway", low=0.5, high=100, real=True, unit="m"
    ),
    Field("vma", "lieux", "Vitesse maximale autorisée", "Speed limit", low=5, high=130, unit="km/h"),
    Field("id_vehicule", "vehicules", "Identifiant du véhicule", "Vehicle id (since 2019)"),
    Field("num_veh", "vehicules", "Numéro du véhicule", "Vehicle letter within the accident"),
    Field(
        "occutc",
        "vehicules",
        "Occupants du transport en commun",
        "People in the public transport vehicle",
        low=0,
        high=999,
    ),
    Field("id_usager", "usagers", "Identifiant de l'usager", "Road user id (since 2021)"),
    Field("an_nais", "usagers", "Année de naissance", "Year of birth", low=1885, high=2099),
]

FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        field.name: field
        for field in [
            *_UNCODED_FIELDS,
            *_build_coded_fields("caracteristiques", CARACTERISTIQUES),
            *_build_coded_fields("lieux", LIEUX),
            *_build_coded_fields("vehicules", VEHICULES),
            *_build_coded_fields("usagers", USAGERS),
        ]
    }
)


def get_field(name: str) -> Field:
    """The field of an official name.

    Raises:
        KeyError: there is no such field; the message lists the fields.
    """
    if name not in FIELDS:
        raise KeyError(f"{name} is not a BAAC field; fields are {', '.join(FIELDS)}")
    return FIELDS[name]


def describe_code(name: str, code: int, language: str = "en") -> str:
    """Description of a code: ``describe_code("grav", 2) == "Killed"``; the code itself where it is not official."""
    codes = get_field(name).codes or {}
    if code in codes:
        return codes[code][0 if language == "fr" else 1]
    if code == UNKNOWN:
        return "Non renseigné" if language == "fr" else "Not filled in"
    return str(code)


def find_problem(name: str, value: object) -> str | None:
    """Why a value of a request is invalid for a field, or None if it is valid. None and -1 mean unknown: valid.

    Values may be numbers, numeric text, the letters of ``actp``, and text for text fields.
    """
    spec = get_field(name)
    if value is None or spec.kind == "text":
        return None
    number = to_number(name, value)
    if number is None:
        return f"{name} = {value!r} is not a number; {spec.en.lower()} takes {spec.allowed}, or -1 for unknown"
    if number == UNKNOWN and not (spec.real and spec.accepts(number)):
        return None
    if spec.kind != "real" and number != int(number):
        return f"{name} = {value!r} is not a whole number; {spec.en.lower()} takes {spec.allowed}, or -1 for unknown"
    if not spec.accepts(number):
        return f"{name} = {value!r} is not in {spec.allowed} ({spec.en.lower()}; -1 means unknown)"
    return None


def to_number(name: str, value: object) -> float | None:
    """The number of a value (letters of ``actp`` and times such as 17:45 of ``hrmn`` included); None if it has none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value if isfinite(value) else None
    text = str(value).strip()
    if name == "actp" and text.upper() in LETTERS:
        return LETTERS[text.upper()]
    return parse_clock(text) if name == "hrmn" else parse_number(text)
