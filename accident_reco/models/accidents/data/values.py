"""Parsers from raw text columns to canonical values, with the rows that are invalid and the reason.

Columns are dictionary-encoded: every distinct text is parsed once. What a cell means is decided in `cells`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook.notation import MISSING_WORDS, has_lost_digits, parse_number
from accident_reco.models.accidents.data.cells import (
    MAX_ACCIDENT_NUMBER,
    MIN_ACCIDENT_NUMBER,
    Parser,
    clean_id,
    parse_accident_number,
)

_MISSING: Final = pa.array(sorted(MISSING_WORDS))
_MINUS_ONE: Final = pa.array(["-1", "-1.0"])
_PLAIN_ID: Final = r"^[0-9A-Za-z]*$"
# Decimals (of a degree) that a coordinate in scientific notation must still have: about ten metres.
_DEGREE_DECIMALS: Final = 4


@dataclass
class ParsedColumn:
    """A canonical column, shape (n,), and (text, rule, reason, rows) for every distinct invalid text."""

    values: NDArray[Any]
    problems: list[tuple[str, str, str, NDArray[np.intp]]]


def parse_column(column: pa.DictionaryArray, parse: Parser, dtype: str) -> ParsedColumn:
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


def clean_text(column: pa.Array, is_id: bool = False, width: int = 0) -> NDArray[np.object_]:
    """Trimmed text, shape (n,), missing values as None.

    Args:
        is_id: read by `cells.clean_id`: without spaces inside, and without a spreadsheet's notation of numbers.
        width: pad with leading zeros, which spreadsheets remove.
    """
    coded = column if isinstance(column, pa.DictionaryArray) else None
    trimmed = pc.utf8_trim_whitespace(column.dictionary if coded is not None else column)
    if is_id:
        trimmed = _clean_ids(trimmed)
    empty = pc.is_in(pc.utf8_lower(trimmed), value_set=_MISSING)
    if width:
        trimmed = pc.utf8_lpad(trimmed, width, "0")
    found = pc.if_else(empty, pa.scalar(None, pa.string()), trimmed).to_numpy(zero_copy_only=False)
    if coded is None:
        return found
    return found[coded.indices.to_numpy(zero_copy_only=False)] if len(found) else np.empty(0, dtype=object)


def _clean_ids(texts: pa.Array) -> pa.Array:
    for space in ("\u00a0", "\u202f", " "):
        texts = pc.replace_substring(texts, space, "")
    odd = pc.invert(pc.match_substring_regex(texts, _PLAIN_ID))
    if not pc.any(odd).as_py():
        return texts
    cleaned = [clean_id(text) if text is not None else None for text in texts.filter(odd).to_pylist()]
    return pc.replace_with_mask(texts, pc.fill_null(odd, False), pa.array(cleaned, pa.string()))


def find_lost_digits(column: pa.Array) -> int | None:
    """First row of an accident number in scientific notation with too few digits (2,024E+11); None: there is none."""
    exponents = pc.match_substring_regex(column, "[0-9][eE][+]?[0-9]")
    for row in np.flatnonzero(pc.fill_null(exponents, False).to_numpy(zero_copy_only=False)):
        if has_lost_digits(column[int(row)].as_py()):
            return int(row)
    return None


def parse_accident_numbers(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Num_Acc as integers, shape (n,), and the rows without a 12-digit number of a year since 2005 (value -1)."""
    trimmed = pc.utf8_trim_whitespace(column)
    try:
        numbers = trimmed.cast(pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        numbers = np.array([parse_accident_number(text) for text in trimmed.to_pylist()], dtype=np.int64)
    wrong = (numbers < MIN_ACCIDENT_NUMBER) | (numbers > MAX_ACCIDENT_NUMBER)
    return np.where(wrong, -1, numbers), np.flatnonzero(wrong)


def parse_degrees(column: pa.Array, scale: float, is_latitude: bool) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Coordinates in degrees (text × scale), shape (n,), NaN where missing, and the rows that are no number.

    `-1` is missing, but for a longitude in degrees, which it may be: `coordinates` decides by the latitude.
    """
    trimmed = pc.replace_substring(pc.utf8_trim_whitespace(column), ",", ".")
    empty = pc.is_in(pc.utf8_lower(trimmed), value_set=_MISSING)
    if scale == 1.0 and not is_latitude:
        empty = pc.and_not(empty, pc.is_in(trimmed, value_set=_MINUS_ONE))
    filled = pc.if_else(empty, pa.scalar(None, pa.string()), trimmed)
    try:
        if pc.any(pc.match_substring_regex(filled, "[eE]")).as_py():
            raise pa.ArrowInvalid("an exponent may have lost digits")
        values = filled.cast(pa.float64()).to_numpy(zero_copy_only=False)
        wrong = np.empty(0, dtype=np.intp)
    except pa.ArrowInvalid:
        decimals = _DEGREE_DECIMALS if scale == 1.0 else 0
        found = [None if text is None else _parse_degree(text, decimals) for text in filled.to_pylist()]
        values = np.array([np.nan if value is None else value for value in found], dtype=np.float64)
        wrong = np.flatnonzero(np.isnan(values) & ~empty.to_numpy(zero_copy_only=False))
    values = values.astype(np.float64) * scale
    return np.where(np.isfinite(values), values, np.nan), wrong


def _parse_degree(text: str, decimals: int) -> float | None:
    return None if has_lost_digits(text, decimals) else parse_number(text)
