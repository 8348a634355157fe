"""Raw text columns to canonical values: one function per kind, each telling which rows it could not take and why.

Every distinct text is judged once (columns arrive dictionary-encoded) and the verdict is spread over the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook import LETTERS, UNKNOWN, Field

# Written for "not filled in" somewhere: blank, dot, minus one, a dash, and words of the publisher's software.
_MISSING = frozenset(
    {"", ".", "-", "-1", "-1.0", "N/A", "n/a", "null", "NULL", "#VALEURMULTI", "#ERREUR", "#VALEUR!", "#N/A"}
)
_SPACES = dict.fromkeys(map(ord, " \u00a0\u202f\t"))

Parsed = tuple[float, str, str]  # value, rule that was applied ("" = none), reason


@dataclass
class ParsedColumn:
    """A canonical column and, per distinct odd text, the rule, the reason and the rows it concerns."""

    values: NDArray[Any]
    problems: list[tuple[str, str, str, NDArray[np.intp]]]  # text, rule, reason, rows


def parse_number(text: str) -> float | None:
    """The number in a published cell, None when it is none; a decimal comma and grouping spaces are taken."""
    try:
        value = float(text.translate(_SPACES).replace(",", "."))
    except ValueError:
        return None
    return value if isfinite(value) else None


def build_code_parser(field: Field) -> Callable[[str], Parsed]:
    """Verdict on a code. Zero and blank mean "not filled in" where the codebook has no code 0 (official rule)."""

    def judge(text: str) -> Parsed:
        if text in _MISSING:
            return UNKNOWN, "", ""
        value: float | None = LETTERS.get(text) if field.name == "actp" else None
        value = parse_number(text) if value is None else value
        if value is not None and field.accepts(value):
            return value, "", ""
        if value == 0:
            return UNKNOWN, "", ""
        if value is None:
            return UNKNOWN, "not_a_number", f"is not a number; {field.en.lower()} takes {field.allowed}"
        return UNKNOWN, "code", f"is not in {field.allowed}"

    return judge


def build_number_parser(field: Field, scale: float = 1.0, offset: float = 0.0) -> Callable[[str], Parsed]:
    """Verdict on a number within the field's range, after `value * scale + offset`. Zero below the range is unknown."""
    nothing = float("nan") if field.real else UNKNOWN

    def judge(text: str) -> Parsed:
        if text in _MISSING:
            return nothing, "", ""
        value = parse_number(text)
        if value is None or (not field.real and value != int(value)):
            return nothing, "not_a_number", f"is not a {'' if field.real else 'whole '}number"
        if value == 0 and not field.accepts(0):
            return nothing, "", ""
        # Rounded so that 57 decimetres are 5.7 m and not 5.700000000000001.
        value = round(value * scale + offset, 6)
        if field.accepts(value):
            return value, "", ""
        return nothing, "out_of_range", f"is not in {field.allowed}"

    return judge


_USUAL_LIMITS = frozenset({10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130})


def build_speed_parser(field: Field) -> Callable[[str], Parsed]:
    """Verdict on vma. Ten times a usual limit (900, 500) is a slip of the keyboard and read as the limit."""
    plain = build_number_parser(field)

    def judge(text: str) -> Parsed:
        verdict = plain(text)
        value = parse_number(text)
        if verdict[1] == "out_of_range" and value is not None and value / 10 in _USUAL_LIMITS:
            return value / 10, "speed_times_ten", f"is ten times a usual limit ({field.allowed})"
        return verdict

    return judge


def parse_time(text: str) -> Parsed:
    """Verdict on hrmn: `07:40` (since 2019), `1445`, `745` or `5` (before), as the integer HHMM."""
    if text in _MISSING:
        return UNKNOWN, "", ""
    value = parse_number(text.replace(":", "") if text.count(":") == 1 else text)
    if value is None or value != int(value):
        return UNKNOWN, "not_a_number", "is not a time"
    if not (0 <= value <= 2359 and value % 100 < 60):
        return UNKNOWN, "out_of_range", "is not between 00:00 and 23:59"
    return value, "", ""


def parse_year(text: str) -> Parsed:
    """Verdict on an: four digits, or the two of the files up to 2018 (`5` is 2005)."""
    value = parse_number(text)
    if value is None or value != int(value):
        return UNKNOWN, "not_a_number", "is not a year"
    value = value + 2000 if value < 100 else value
    return (value, "", "") if 2005 <= value <= 2099 else (UNKNOWN, "out_of_range", "is not a year since 2005")


def parse_column(column: pa.DictionaryArray, judge: Callable[[str], Parsed], dtype: str) -> ParsedColumn:
    """The verdicts of a dictionary-encoded column, one value per row."""
    texts = column.dictionary.to_pylist()
    indices = column.indices.to_numpy(zero_copy_only=False)
    verdicts = [judge(text.strip()) for text in texts]
    table = np.array([verdict[0] for verdict in verdicts], dtype=dtype)
    values = table[indices] if len(table) else np.empty(0, dtype=dtype)
    odd = []
    for position, (_, rule, reason) in enumerate(verdicts):
        if rule:
            rows = np.flatnonzero(indices == position)
            if len(rows):
                odd.append((texts[position], rule, reason, rows))
    return ParsedColumn(values, odd)


def clean_text(column: pa.Array, compact: bool = False, width: int = 0) -> NDArray[np.object_]:
    """Text trimmed, blanks and the literals for "nothing" as None.

    `compact` removes every space inside as well, `width` gives leading zeros back that a spreadsheet took.
    """
    coded = column if isinstance(column, pa.DictionaryArray) else None
    source = column.dictionary if coded is not None else column
    trimmed = pc.utf8_trim_whitespace(source)
    if compact:
        for space in ("\u00a0", "\u202f", " "):
            trimmed = pc.replace_substring(trimmed, space, "")
    empty = pc.is_in(trimmed, value_set=pa.array(sorted(_MISSING)))
    if width:
        trimmed = pc.utf8_lpad(trimmed, width, "0")
    found = pc.if_else(empty, pa.scalar(None, pa.string()), trimmed).to_numpy(zero_copy_only=False)
    if coded is None:
        return found
    return found[coded.indices.to_numpy(zero_copy_only=False)] if len(found) else np.empty(0, dtype=object)


def parse_accident_numbers(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Num_Acc as integers, and the rows where it is not a 12-digit number of a year since 2005 (value -1 there)."""
    trimmed = pc.utf8_trim_whitespace(column)
    try:
        numbers = trimmed.cast(pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        found = (parse_number(text) for text in trimmed.to_pylist())
        numbers = np.array([int(n) if n is not None and n == int(n) else -1 for n in found], dtype=np.int64)
    wrong = (numbers < 200_500_000_000) | (numbers > 209_999_999_999)
    return np.where(wrong, -1, numbers), np.flatnonzero(wrong)


def parse_degrees(column: pa.Array, scale: float) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Coordinates as degrees (text × scale), NaN where not filled in, and the rows that hold no number."""
    trimmed = pc.utf8_trim_whitespace(column)
    trimmed = pc.replace_substring(trimmed, ",", ".")
    empty = pc.is_in(trimmed, value_set=pa.array(sorted(_MISSING)))
    filled = pc.if_else(empty, pa.scalar(None, pa.string()), trimmed)
    try:
        values = filled.cast(pa.float64()).to_numpy(zero_copy_only=False)
        wrong = np.empty(0, dtype=np.intp)
    except pa.ArrowInvalid:
        found = [None if text is None else parse_number(text) for text in filled.to_pylist()]
        values = np.array([np.nan if value is None else value for value in found], dtype=np.float64)
        wrong = np.flatnonzero(np.isnan(values) & ~empty.to_numpy(zero_copy_only=False))
    values = values.astype(np.float64) * scale
    return np.where(np.isfinite(values), values, np.nan), wrong
