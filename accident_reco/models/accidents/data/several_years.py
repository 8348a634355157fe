"""Files with the rows of several years: which years they have, and the file of one of them.

Line numbers stay those of the file: the lines of other years are left empty, which costs a byte each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.data import values as read
from accident_reco.models.accidents.data.quarantine import Quarantine
from accident_reco.models.accidents.data.reading import RawTable, read_table


def count_years(data: bytes, table: str, file: str) -> dict[int, int]:
    """Year → rows whose accident number is of it, ascending.

    Raises:
        UnreadableFile: it is not a file of this table.
    """
    raw = read_table(data, table, file, Quarantine())
    years, counts = np.unique(_list_years(raw), return_counts=True)
    return {int(year): int(count) for year, count in zip(years, counts, strict=True) if year > 0}


def select_year(data: bytes, table: str, file: str, year: int) -> bytes:
    """The file with the lines of one year only, UTF-8, all others empty.

    A line without a valid accident number stays with the line before it, so that it is refused where it stands.

    Raises:
        UnreadableFile: it is not a file of this table.
    """
    raw = read_table(data, table, file, Quarantine())
    of_line = np.zeros(len(raw.starts), dtype=np.int64)
    of_line[raw.line - 1] = _list_years(raw)
    known = np.flatnonzero(of_line > 0)
    if len(known):
        latest = np.maximum(np.searchsorted(known, np.arange(len(of_line)), side="right") - 1, 0)
        of_line = of_line[known[latest]]
    keep = of_line[: len(raw.starts) - 1] == year
    keep[0] = True
    text = np.frombuffer(raw.text, dtype=np.uint8)
    kept = np.repeat(keep, np.diff(raw.starts))
    return text[: len(kept)][kept | (text[: len(kept)] == 10)].tobytes()


def _list_years(raw: RawTable) -> NDArray[np.int64]:
    """Year of every accepted row by its accident number; 0 where that is invalid."""
    numbers, _ = read.parse_accident_numbers(raw.columns["Num_Acc"])
    return np.where(numbers > 0, numbers // 10**8, 0)
