"""Parsers from raw text columns to canonical values, with the rows that are invalid and the reason.

Columns are dictionary-encoded: every distinct text is parsed once.
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

# Notations of missing values in published files: blank, dot, minus one, dash, and error texts of spreadsheets.
_MISSING = frozenset(
    {"", ".", "-", "-1", "-1.0", "N/A", "n/a", "null", "NULL", "#VALEURMULTI", "#ERREUR", "#VALEUR!", "#N/A"}
)
_SPACES = dict.fromkeys(map(ord, " \u00a0\u202f\t"))

Parsed = tuple[float, str, str]
"""Value, rule of the quarantine that applies ("": none), reason."""


@dataclass
class ParsedColumn:
    """A canonical column, shape (n,), and (text, rule, reason, rows) for every distinct invalid text."""

    values: NDArray[Any]
    problems: list[tuple[str, str, str, NDArray[np.intp]]]


def parse_number(text: str) -> float | None:
    """The number of a published cell, decimal comma and grouping spaces included; None if it is none."""
    try:
        value = float(text.translate(_SPACES).replace(",", "."))
    except ValueError:
        return None
    return value if isfinite(value) else None


def build_code_parser(field: Field) -> Callable[[str], Parsed]:
    """Parser of a code. Zero and blank mean missing where the codebook has no code 0 (official rule)."""

    def parse(text: str) -> Parsed:
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

    return parse


def build_number_parser(field: Field, scale: float = 1.0, offset: float = 0.0) -> Callable[[str], Parsed]:
    """Parser of a number in the field's range after `value * scale + offset`; zero outside of it is missing."""
    missing = float("nan") if field.real else UNKNOWN

    def parse(text: str) -> Parsed:
        if text in _MISSING:
            return missing, "", ""
        value = parse_number(text)
        if value is None or (not field.real and value != int(value)):
            return missing, "not_a_number", f"is not a {'' if field.real else 'whole '}number"
        if value == 0 and not field.accepts(0):
            return missing, "", ""
        # Rounded: 57 decimetres are 5.7 m, not 5.700000000000001.
        value = round(value * scale + offset, 6)
        if field.accepts(value):
            return value, "", ""
        return missing, "out_of_range", f"is not in {field.allowed}"

    return parse


_USUAL_LIMITS = frozenset({10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130})


def build_speed_parser(field: Field) -> Callable[[str], Parsed]:
    """Parser of vma. Ten times a usual limit (900, 500) is a typing error and read as the limit."""
    parse_number_in_range = build_number_parser(field)

    def parse(text: str) -> Parsed:
        parsed = parse_number_in_range(text)
        value = parse_number(text)
        if parsed[1] == "out_of_range" and value is not None and value / 10 in _USUAL_LIMITS:
            return value / 10, "speed_times_ten", f"is ten times a usual limit ({field.allowed})"
        return parsed

    return parse


def parse_time(text: str) -> Parsed:
    """Parse hrmn, `07:40` (since 2019), `1445`, `745` or `5` (before), as the integer HHMM."""
    if text in _MISSING:
        return UNKNOWN, "", ""
    value = parse_number(text.replace(":", "") if text.count(":") == 1 else text)
    if value is None or value != int(value):
        return UNKNOWN, "not_a_number", "is not a time"
    if not (0 <= value <= 2359 and value % 100 < 60):
        return UNKNOWN, "out_of_range", "is not between 00:00 and 23:59"
    return value, "", ""


def parse_year(text: str) -> Parsed:
    """Parse an: four digits, or the two of the files up to 2018 (`5` is 2005)."""
    value = parse_number(text)
    if value is None or value != int(value):
        return UNKNOWN, "not_a_number", "is not a year"
    value = value + 2000 if value < 100 else value
    return (value, "", "") if 2005 <= value <= 2099 else (UNKNOWN, "out_of_range", "is not a year since 2005")


def parse_column(column: pa.DictionaryArray, parse: Callable[[str], Parsed], dtype: str) -> ParsedColumn:
    """Parsed values of a dictionary-encoded column, one per row."""
    texts = column.dictionary.to_pylist()
    indices = column.indices.to_numpy(zero_copy_only=False)
    parsed = [parse(text.strip()) for text in texts]
    table = np.array([value for value, _, _ in parsed], dtype=dtype)
    values = table[indices] if len(table) else np.empty(0, dtype=dtype)
    problems = []
    for position, (_, rule, reason) in enumerate(parsed):
        if rule:
            rows = np.flatnonzero(indices == position)
            if len(rows):
                problems.append((texts[position], rule, reason, rows))
    return ParsedColumn(values, problems)


def clean_text(column: pa.Array, compact: bool = False, width: int = 0) -> NDArray[np.object_]:
    """Trimmed text, shape (n,), missing values as None.

    Args:
        compact: remove all spaces inside as well.
        width: pad with leading zeros, which spreadsheets remove.
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
    """Num_Acc as integers, shape (n,), and the rows without a 12-digit number of a year since 2005 (value -1)."""
    trimmed = pc.utf8_trim_whitespace(column)
    try:
        numbers = trimmed.cast(pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        found = (parse_number(text) for text in trimmed.to_pylist())
        numbers = np.array([int(n) if n is not None and n == int(n) else -1 for n in found], dtype=np.int64)
    wrong = (numbers < 200_500_000_000) | (numbers > 209_999_999_999)
    return np.where(wrong, -1, numbers), np.flatnonzero(wrong)


def parse_degrees(column: pa.Array, scale: float) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Coordinates in degrees (text × scale), shape (n,), NaN where missing, and the rows that are no number."""
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
