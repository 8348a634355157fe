"""Weekday and French public holidays of a date, from a precomputed table: no date library in requests.

Public holidays are those of metropolitan France (Code du travail, art. L3133-1). Easter follows the anonymous
Gregorian algorithm (Meeus, Astronomical Algorithms, ch. 8).
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2059
# With empty slots for -1, 0 and one beyond the last, so that lookups need no conditions.
_MONTHS: Final = 15
_DAYS: Final = 34


def compute_easter(year: int) -> date:
    """Easter Sunday of `year` in the Gregorian calendar."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (b - (b + 8) // 25 + 1) // 3
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return date(year, month, day + 1)


def get_public_holidays(year: int) -> frozenset[date]:
    """The eleven public holidays of metropolitan France in `year`."""
    sunday = compute_easter(year)
    moving = {sunday + timedelta(days=days) for days in (1, 39, 50)}
    fixed = {(1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25)}
    return frozenset(moving | {date(year, month, day) for month, day in fixed})


@cache
def build_day_table() -> NDArray[np.float32]:
    """Weekday (0 = Monday) and day type (0 ordinary, 1 eve of a public holiday, 2 public holiday), shape (2, slots).

    Slots of dates that do not exist are NaN.
    """
    table = np.full((2, LAST_YEAR - FIRST_YEAR + 3, _MONTHS, _DAYS), np.nan, dtype=np.float32)
    for year in range(FIRST_YEAR, LAST_YEAR + 1):
        holidays = get_public_holidays(year) | {date(year + 1, 1, 1)}
        eves = {day - timedelta(days=1) for day in holidays}
        day = date(year, 1, 1)
        while day.year == year:
            kind = 2 if day in holidays else int(day in eves)
            table[:, year - FIRST_YEAR + 1, day.month + 1, day.day + 1] = day.weekday(), kind
            day += timedelta(days=1)
    flat = table.reshape(2, -1)
    flat.setflags(write=False)
    return flat


Codes = NDArray[np.int64] | int


def find_day_slots(an: Codes, mois: Codes, jour: Codes) -> NDArray[np.int64]:
    """Slot in `build_day_table` of each date, shape (n,), from BAAC columns (-1 = unknown); NaN slots if invalid.

    It is the sum of a step for the year, one for the month and one for the day.
    """
    year = np.minimum(np.maximum(an, FIRST_YEAR - 1), LAST_YEAR + 1) - (FIRST_YEAR - 1)
    slots: NDArray[np.int64] = (year * _MONTHS + np.minimum(mois, 13) + 1) * _DAYS + np.minimum(jour, 32) + 1
    return slots
