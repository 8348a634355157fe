"""Notations of numbers, times and missing values in published files, and in files that other programs saved again.

Text of one cell in, number out; what a number means in its column is in `data.cells`. Pure: neither numpy nor pandas.
"""

from __future__ import annotations

import re
from decimal import Decimal
from math import isfinite
from typing import Final

# Notations of a missing value, lower case: the publisher's, then those of R, pandas, Python, databases.
MISSING_WORDS: Final = frozenset(
    {
        *("", ".", "-", "--", "-1", "-1.0", "-1,0", "n/a", "na", "n.a.", "nan", "none", "null", "<na>", "nat", "\\n"),
        *("non renseigné", "#n/a", "#valeurmulti", "#erreur", "#erreur!", "#valeur!", "#value!", "#ref!", "#nom?"),
        *("#name?", "#div/0!", "#num!", "#nombre!", "#nul!", "#null!"),
    }
)
_SPACES: Final = dict.fromkeys(map(ord, " \u00a0\u202f\t"))
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d{1,3}))?", re.ASCII)
_CLOCK: Final = re.compile(
    r"(?:\d{4}-\d\d-\d\d[T ]|0 days )?(\d{1,2})[:hH]([0-5]\d)(?::\d\d(?:[.,]\d+)?)?(?: ?([ap])\.?m\.?)?",
    re.ASCII | re.I,
)
_MINUTES_PER_DAY: Final = 1440
# Serial days (since 30 December 1899) of 2005 to 2099.
MIN_SERIAL, MAX_SERIAL = 38_353, 73_050


def is_missing(text: str) -> bool:
    """Whether a trimmed cell is one of the notations of a missing value."""
    return text.casefold() in MISSING_WORDS


def is_error_text(text: str) -> bool:
    """Whether a trimmed cell is the error text of a spreadsheet: `#ERREUR`, `######`, `Err:502`."""
    return text.startswith(("#", "Err:"))


def parse_number(text: str) -> float | None:
    """The number of a cell, decimal comma, grouping spaces and exact exponents included; None if it is none.

    None as well for an exponent with fewer digits than the number has (2,02E+03): see `has_lost_digits`.
    """
    plain = _to_plain(text)
    found = _NUMBER.fullmatch(plain)
    if found is None or (found[2] is not None and _count_decimals(found) < 0):
        return None
    value = float(plain)
    return value if isfinite(value) else None


def has_lost_digits(text: str, decimals: int = 0) -> bool:
    """Whether a cell is in scientific notation with too few digits, so that other numbers look the same: 2,024E+11.

    Args:
        decimals: digits after the decimal point that the number must still have.
    """
    found = _NUMBER.fullmatch(_to_plain(text))
    return found is not None and found[2] is not None and _count_decimals(found) < decimals


def _to_plain(text: str) -> str:
    return text.translate(_SPACES).replace(",", ".")


def _count_decimals(number: re.Match[str]) -> int:
    """Known digits after the decimal point of a number with an exponent; negative: digits before it are unknown."""
    whole, _, fraction = number[1].partition(".")
    if not f"{whole}{fraction}".strip("0"):
        return len(fraction)
    return len(fraction) - int(number[2])


def parse_whole(text: str) -> int | None:
    """The whole number of a cell, exact for any length (202400000001.0, 2,02400000001E+11); None if it is none."""
    if parse_number(text) is None:
        return None
    value = Decimal(_to_plain(text))
    return int(value) if value == value.to_integral_value() else None


def parse_clock(text: str) -> float | None:
    """A time of day as the number HHMM, in or out of range; None if it is none.

    Reads `07:40`, `7h40`, `07:40:00`, `7:40 PM`, `2024-03-25 07:40:00`, the numbers of files up to 2018 (`1445`, `745`,
    `5`), and a spreadsheet's fraction of a day (`0,319444`). Minutes after a colon have two digits: `1:5` is no time.
    """
    found = _CLOCK.fullmatch(text.strip())
    if found is not None:
        hours, minutes, half = int(found[1]), int(found[2]), (found[3] or "").lower()
        if half:
            if not 1 <= hours <= 12:
                return None
            hours = hours % 12 + (12 if half == "p" else 0)
        return float(hours * 100 + minutes)
    value = parse_number(text)
    if value is None or value.is_integer():
        return value
    if not (0 < value < 1 or MIN_SERIAL <= value <= MAX_SERIAL):
        return None
    exact = value % 1 * _MINUTES_PER_DAY
    minute = round(exact)
    # A fraction that was rounded to two or three digits is between two minutes.
    if abs(exact - minute) > 0.02 or minute == _MINUTES_PER_DAY:
        return None
    return float(minute // 60 * 100 + minute % 60)
