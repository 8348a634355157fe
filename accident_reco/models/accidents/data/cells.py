"""One cell of a BAAC column: from its text to the canonical value, with the reason where it is not taken literally.

The one reader of values, for ingestion and for scored files. Pure: neither numpy nor pyarrow; whole columns are in
`values`, notations (missing values, numbers, times) in `codebook.notation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache
from typing import Final

from accident_reco.models.accidents.codebook import LETTERS, UNKNOWN, Field, get_field
from accident_reco.models.accidents.codebook.notation import (
    MAX_SERIAL,
    MIN_SERIAL,
    has_lost_digits,
    is_error_text,
    is_missing,
    parse_clock,
    parse_number,
    parse_whole,
)

Parsed = tuple[float, str, str]
"""Value, rule that applies ("": none), reason. Rules are those of the quarantine, and `NOT_FILLED_IN`."""
Parser = Callable[[str], Parsed]

NOT_FILLED_IN: Final = "not_filled_in"
"""Rule of values that the official description reads as missing (zero, error texts): no repair, so ingestion counts
none; a scored file's notes mention them."""

SINCE_2019, UNTIL_2018 = "since_2019", "until_2018"
MIN_ACCIDENT_NUMBER, MAX_ACCIDENT_NUMBER = 200_500_000_000, 209_999_999_999

_USUAL_LIMITS: Final = frozenset({10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130})
_LOST: Final = "has lost its digits (scientific notation)"
_ISO_DATE: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ]00:00(?::00(?:\.0+)?)?)?", re.ASCII)
# Ids are letters, digits and punctuation; a no-break space becomes "Â ", "?" or "\ufffd" in a wrong encoding.
_NO_ID_CHARACTER: Final = re.compile(r"[^\x21-\x3e\x40-\x7e]")
_DATE_PARTS: Final = {"an": 0, "mois": 1, "jour": 2}
_SERIAL_ORIGIN: Final = date(1899, 12, 30)
_DECIMETRES: Final = frozenset({"lartpc", "larrout"})


@cache
def get_parser(name: str, era: str = SINCE_2019) -> Parser:
    """Parser of the trimmed cells of a code or number column in the layout of an era.

    Raises:
        KeyError: there is no such column.
        ValueError: it is text, a coordinate or an accident number, which are read by column in `values`.
    """
    field = get_field(name)
    if field.kind == "text" or name in ("lat", "long", "Num_Acc"):
        raise ValueError(f"{name} has no parser of single cells")
    if name == "hrmn":
        return parse_time
    if name == "an":
        return parse_year
    if name == "vma":
        return _build_speed_parser(field)
    if field.kind == "code":
        parse = _build_code_parser(field)
        # Until 2017 a pedestrian on rollers was category 4; since 2018 the codebook knows pedestrians (3) only.
        is_old = name == "catu" and era == UNTIL_2018
        return (lambda text: parse("3" if text[:1] == "4" else text)) if is_old else parse
    return _build_number_parser(field, scale=0.1 if era == UNTIL_2018 and name in _DECIMETRES else 1.0)


def parse_accident_number(text: str) -> int:
    """Num_Acc: 12 digits of a year since 2005, in any exact notation; -1 for others."""
    number = parse_whole(text)
    return number if number is not None and MIN_ACCIDENT_NUMBER <= number <= MAX_ACCIDENT_NUMBER else -1


def clean_id(text: str) -> str | None:
    """An id without spaces, what became of them in a wrong encoding, and spreadsheet notation; None: missing.

    `155 781 758`, `155781758.0` and `1,55781758E+08` are one id; 1,56E+08 has lost its digits and is missing.
    """
    compact = _NO_ID_CHARACTER.sub("", text)
    if is_missing(compact):
        return None
    if compact.isascii() and compact.isdigit():
        return compact
    if has_lost_digits(compact):
        return None
    number = parse_whole(compact)
    return compact if number is None or number < 0 else str(number)


def _build_code_parser(field: Field) -> Parser:
    """Parser of a code. Zero and blank mean missing where the codebook has no code 0 (official rule)."""

    def parse(text: str) -> Parsed:
        if is_missing(text) or is_error_text(text):
            return _parse_missing(text, UNKNOWN)
        value: float | None = LETTERS.get(text.upper()) if field.name == "actp" else None
        value = _parse_any_number(text) if value is None else value
        if value is None:
            return UNKNOWN, "not_a_number", _explain(text, f"is not a number; {field.en.lower()} takes {field.allowed}")
        if field.accepts(value):
            return value, "", ""
        if value == UNKNOWN:
            return UNKNOWN, "", ""
        if value == 0:
            return UNKNOWN, NOT_FILLED_IN, "is not filled in"
        return UNKNOWN, "code", f"is not in {field.allowed}"

    return parse


def _build_number_parser(field: Field, scale: float = 1.0) -> Parser:
    """Parser of a number in the field's range after multiplication by `scale`; zero outside of it is missing."""
    missing = float("nan") if field.real else UNKNOWN

    def parse(text: str) -> Parsed:
        if is_missing(text) or is_error_text(text):
            return _parse_missing(text, missing)
        value = parse_number(text) if field.real else _parse_any_number(text)
        if value is None or (not field.real and not value.is_integer()):
            return missing, "not_a_number", _explain(text, f"is not a {'' if field.real else 'whole '}number")
        if value == UNKNOWN and not field.accepts(UNKNOWN):
            return missing, "", ""
        if value == 0 and not field.accepts(0):
            return missing, NOT_FILLED_IN, "is not filled in"
        # Rounded: 57 decimetres are 5.7 m, not 5.700000000000001.
        value = round(value * scale, 6)
        if field.accepts(value):
            return value, "", ""
        return missing, "out_of_range", f"is not in {field.allowed}"

    parse_part = _DATE_PARTS.get(field.name)
    return parse if parse_part is None else _build_date_part_parser(parse, parse_part)


def _build_speed_parser(field: Field) -> Parser:
    """Parser of vma. Ten times a usual limit (900, 500) is a typing error and read as the limit."""
    parse_in_range = _build_number_parser(field)

    def parse(text: str) -> Parsed:
        parsed = parse_in_range(text)
        value = parse_number(text)
        if parsed[1] == "out_of_range" and value is not None and value / 10 in _USUAL_LIMITS:
            return value / 10, "speed_times_ten", f"is ten times a usual limit ({field.allowed})"
        return parsed

    return parse


def parse_time(text: str) -> Parsed:
    """Parse hrmn as the integer HHMM; notations are those of `notation.parse_clock`."""
    if is_missing(text) or is_error_text(text):
        return _parse_missing(text, UNKNOWN)
    value = parse_clock(text)
    if value is None or not value.is_integer():
        return UNKNOWN, "not_a_number", _explain(text, "is not a time")
    if value == UNKNOWN:
        return UNKNOWN, "", ""
    if not (0 <= value <= 2359 and value % 100 < 60):
        return UNKNOWN, "out_of_range", "is not between 00:00 and 23:59"
    return value, "", ""


def _parse_any_year(text: str) -> Parsed:
    if is_missing(text) or is_error_text(text):
        return _parse_missing(text, UNKNOWN)
    value = _parse_any_number(text)
    if value is None or not value.is_integer():
        return UNKNOWN, "not_a_number", _explain(text, "is not a year")
    if value == UNKNOWN:
        return UNKNOWN, "", ""
    value = value + 2000 if 0 <= value < 100 else value
    return (value, "", "") if 2005 <= value <= 2099 else (UNKNOWN, "out_of_range", "is not a year since 2005")


def _build_date_part_parser(parse: Parser, part: int) -> Parser:
    """Parser of an, mois or jour that also reads a whole date: ISO, or a spreadsheet's serial day.

    Dates with slashes are not read: 03/04/2024 is in March or in April.
    """

    def parse_part(text: str) -> Parsed:
        if found := _ISO_DATE.fullmatch(text):
            if int(found[1]) >= 2005:
                return parse(found[part + 1])
        else:
            serial = parse_number(text)
            if serial is not None and serial.is_integer() and MIN_SERIAL <= serial <= MAX_SERIAL:
                day = _SERIAL_ORIGIN + timedelta(days=int(serial))
                return parse(str((day.year, day.month, day.day)[part]))
        return parse(text)

    return parse_part


parse_year: Final = _build_date_part_parser(_parse_any_year, 0)
"""Parser of an: four digits, the two of the files up to 2018 (`5` is 2005), or a date."""


def _parse_any_number(text: str) -> float | None:
    """The number of a cell, also of one that a spreadsheet shows as the date of that serial day (1987: 1905-06-09)."""
    value = parse_number(text)
    if value is not None:
        return value
    found = _ISO_DATE.fullmatch(text)
    if found is None or not 1899 <= int(found[1]) <= 1910:
        return None
    try:
        serial = (date(int(found[1]), int(found[2]), int(found[3])) - _SERIAL_ORIGIN).days
    except ValueError:
        return None
    # Programs disagree about the serials of January and February 1900: one of them counts a 29 February.
    return float(serial) if serial > 60 else None


def _parse_missing(text: str, missing: float) -> Parsed:
    return (missing, NOT_FILLED_IN, "is an error of a spreadsheet") if is_error_text(text) else (missing, "", "")


def _explain(text: str, why: str) -> str:
    return _LOST if has_lost_digits(text) else why
