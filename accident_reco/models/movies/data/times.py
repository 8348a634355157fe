"""Times of ratings: seconds since 1970, or dates and times of ISO 8601, read as UTC where they have no offset."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_INTEGER: Final = r"^\s*[+-]?\d+(\.0*)?\s*$"
_ISO: Final = r"^\s*\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?\s*(Z|UTC|[+-]\d\d:?\d\d)?\s*$"


def parse_integers(column: Any) -> np.ndarray:
    """Text to int64; -1 where it is not a whole number that fits. An exponent may have lost digits: it is none."""
    try:
        return np.array(pc.fill_null(pc.cast(column, pa.int64()), -1), dtype=np.int64)
    except pa.ArrowInvalid:
        valid = pc.fill_null(pc.match_substring_regex(column, _INTEGER), False)
        # A cast takes no sign in front of a positive number.
        plain = pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r"^\+|\.0*$", "")
        short = pc.and_(valid, pc.less(pc.utf8_length(plain), 17))
        numbers = pc.cast(pc.if_else(short, plain, pa.scalar(None, pa.string())), pa.int64())
        return np.array(pc.fill_null(numbers, -1), dtype=np.int64)


def parse_times(column: Any) -> np.ndarray:
    """Text to seconds since 1970 UTC, int64; -1 where it is no time."""
    seconds = parse_integers(column)
    rows = np.flatnonzero(seconds == -1)
    if not len(rows):
        return seconds
    texts = column.take(pa.array(rows))
    is_date = pc.fill_null(pc.match_substring_regex(texts, _ISO), False)
    if not pc.any(is_date).as_py():
        return seconds
    dates = pc.utf8_trim_whitespace(pc.if_else(is_date, texts, pa.scalar(None, pa.string())))
    dates = pc.replace_substring_regex(dates, r"(\.\d+)?\s*(Z|UTC|[+-]00:?00)?$", "")
    try:
        parsed = np.array(pc.fill_null(pc.cast(pc.cast(dates, pa.timestamp("s")), pa.int64()), -1), dtype=np.int64)
    except pa.ArrowInvalid:
        parsed = np.array([_parse_time(text) for text in texts.to_pylist()], dtype=np.int64)
    merged = seconds.copy()  # Arrow's own memory is read-only
    merged[rows] = parsed
    return merged


def _parse_time(text: str | None) -> int:
    try:
        time = datetime.fromisoformat((text or "").strip().replace(" UTC", "Z"))
    except ValueError:
        return -1
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
