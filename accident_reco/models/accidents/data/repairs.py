"""Repairs of values that contradict others of the same road user: dates and birth years. Coordinates: `coordinates`.

Every function sets invalid values to unknown and adds them to the quarantine.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.data.adapters import CanonicalTable
from accident_reco.models.accidents.data.quarantine import Quarantine

MAX_AGE: Final = 120


def repair_dates(accidents: CanonicalTable, notes: Quarantine) -> None:
    """Set days that their month does not have to unknown."""
    an, mois, jour = (accidents.columns[name].astype(np.int64) for name in ("an", "mois", "jour"))
    leap = (an % 4 == 0) & ((an % 100 != 0) | (an % 400 == 0))
    days = np.array([31, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[np.maximum(mois, 0)] + (leap & (mois == 2))
    rows = np.flatnonzero(jour > days)
    accidents.columns["jour"][rows] = -1
    values = [f"{day:02d}" for day in jour[rows].tolist()]
    reasons = [f"is not a day of month {month} of {year}" for month, year in zip(mois[rows], an[rows], strict=True)]
    accidents.repair("impossible_date", rows, "jour", values, reasons, notes)


def repair_birth_years(users: CanonicalTable, an: NDArray[Any], notes: Quarantine) -> None:
    """Set births after the accident, or more than `MAX_AGE` years before it, to unknown."""
    born = users.columns["an_nais"].astype(np.int64)
    age = an.astype(np.int64) - born
    rows = np.flatnonzero((born > 0) & ((age < 0) | (age > MAX_AGE)))
    users.columns["an_nais"][rows] = -1
    values = [str(year) for year in born[rows].tolist()]
    reason = f"implies an age above {MAX_AGE} years or a birth after the accident"
    users.repair("born_later", rows, "an_nais", values, reason, notes)
