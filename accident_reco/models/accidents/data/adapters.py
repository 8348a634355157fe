"""From published layouts to canonical columns, by the header, never by the year.

Since 2019: `;`, decimal comma, `id_vehicule`, `secu1..3`, `07:40`. Until 2018: `,`, two-digit year, one `secu` of two
digits, widths in decimetres, coordinates times 100,000, `dep` followed by a 0 and `com` of three digits.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.data import values as read
from accident_reco.models.accidents.data.cells import NOT_FILLED_IN
from accident_reco.models.accidents.data.conversion import build_missing_column, convert_columns, convert_old_layout
from accident_reco.models.accidents.data.quarantine import Quarantine
from accident_reco.models.accidents.data.reading import RawTable, UnreadableFile, read_table
from accident_reco.models.accidents.data.schema import COLUMNS, OPTIONAL

_SINCE_2019: Final = frozenset({"id_vehicule", "id_usager", "motor", "vma", "secu1"})
_UNTIL_2018: Final = frozenset({"secu", "gps", "env1"})


@dataclass
class CanonicalTable:
    """One file in canonical columns, each of shape (n,), without rows whose accident number is invalid."""

    table: str
    file: str
    columns: dict[str, NDArray[Any]]
    line: NDArray[np.int32]
    raw: RawTable
    era: str

    def __len__(self) -> int:
        return len(self.line)

    def append_unknown(self, numbers: NDArray[np.int64]) -> None:
        """Append rows with an accident number and nothing else; their line is 0."""
        for name, values in self.columns.items():
            added = numbers if name == "Num_Acc" else build_missing_column(name, len(numbers))
            self.columns[name] = np.concatenate([values, added.astype(values.dtype)])
        self.line = np.concatenate([self.line, np.zeros(len(numbers), dtype=self.line.dtype)])

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """Drop the rows that are not in the mask of shape (n,)."""
        self.columns = {name: column[mask] for name, column in self.columns.items()}
        self.line = self.line[mask]

    def refuse(
        self, rule: str, rows: NDArray[np.intp], column: str, values: list[str], why: str | list[str], notes: Quarantine
    ) -> None:
        """Record rows as refused in the quarantine; the caller drops them."""
        lines = self.line[rows].tolist()
        numbers = self.columns["Num_Acc"][rows].tolist()
        notes.add(rule, self.table, self.file, lines, column, values, why, numbers, self.raw.raw(lines))

    def repair(
        self, rule: str, rows: NDArray[np.intp], column: str, values: list[str], why: str | list[str], notes: Quarantine
    ) -> None:
        """Record values as repaired in the quarantine; the caller changes them."""
        lines = self.line[rows].tolist()
        notes.add(rule, self.table, self.file, lines, column, values, why, self.columns["Num_Acc"][rows].tolist())


def read_canonical(
    data: bytes, table: str, file: str, notes: Quarantine, optional: Set[str] = OPTIONAL
) -> CanonicalTable:
    """Read one published file of any era; every refused row and repaired value is added to `notes`.

    Args:
        optional: columns that may be absent.

    Raises:
        UnreadableFile: it is not a file of this table.
    """
    raw = read_table(data, table, file, notes, optional)
    era = detect_era(raw)
    refuse_lost_numbers(raw)
    numbers, invalid = read.parse_accident_numbers(raw.columns["Num_Acc"])
    lines = raw.line.tolist()
    columns, problems = convert_columns(raw.columns, COLUMNS[table], len(raw.line), era)
    columns = {name: numbers if name == "Num_Acc" else columns[name] for name in COLUMNS[table]}
    canonical = CanonicalTable(table, file, columns, raw.line, raw, era)
    if era == "until_2018":
        convert_old_layout(canonical.columns, raw.columns)
    for name, text, rule, reason, rows in problems:
        # Unknown severities are refused in the merge; values that are not filled in by the official rule are no repair.
        if name == "grav" or (rule == NOT_FILLED_IN and not notes.lists_not_filled_in):
            continue
        notes.add(
            rule,
            table,
            file,
            [lines[row] for row in rows],
            name,
            [text.strip()] * len(rows),
            reason,
            numbers[rows].tolist(),
        )
    if len(invalid):
        texts = [raw.columns["Num_Acc"][int(row)].as_py() for row in invalid]
        canonical.refuse(
            "bad_key", invalid, "Num_Acc", texts, "is not an accident number (12 digits, year first)", notes
        )
        canonical.keep(numbers != -1)
    return canonical


def detect_era(raw: RawTable) -> str:
    """`since_2019` or `until_2018`, by columns that only one of them has, else by the accident numbers."""
    if _SINCE_2019 & raw.columns.keys():
        return "since_2019"
    if _UNTIL_2018 & raw.columns.keys() or raw.table == "vehicules":
        return "until_2018"
    first = raw.columns["Num_Acc"][0].as_py().strip()[:4] if len(raw.line) else "2019"
    return "until_2018" if first < "2019" else "since_2019"


def refuse_lost_numbers(raw: RawTable) -> None:
    """Raises UnreadableFile where a spreadsheet has saved the accident numbers as 2,024E+11."""
    row = read.find_lost_digits(raw.columns["Num_Acc"])
    if row is not None:
        raise UnreadableFile(
            f"{raw.file} line {raw.line[row]}: Num_Acc = {raw.columns['Num_Acc'][row].as_py().strip()[:40]} has lost "
            f"its digits (scientific notation of fewer than 12 digits); fix: format the column as a number without "
            f"decimals, or as text, before saving, or use the file as published"
        )
