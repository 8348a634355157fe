"""From published layouts to canonical columns.

Since 2019: `;`, decimal comma, `id_vehicule`, `secu1..3`, `07:40`. Until 2018: `,`, two-digit year, one `secu` of two
digits, widths in decimetres, coordinates times 100,000, `dep` followed by a 0 and `com` of three digits. The era of a
year's files is decided in `eras`, other forms of single columns in `forms`.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.data import values as read
from accident_reco.models.accidents.data.cells import NOT_FILLED_IN
from accident_reco.models.accidents.data.conversion import (
    build_missing_column,
    convert_columns,
    convert_locations,
    convert_old_layout,
)
from accident_reco.models.accidents.data.eras import Era, collect_evidence, decide_era
from accident_reco.models.accidents.data.forms import check_locations, detect_forms
from accident_reco.models.accidents.data.ids import find_lost_ids
from accident_reco.models.accidents.data.quarantine import Quarantine
from accident_reco.models.accidents.data.reading import RawTable, UnreadableFile, read_table
from accident_reco.models.accidents.data.schema import COLUMNS, OPTIONAL

MAX_NOTES: Final = 20
"""Rows of one cause that get a note each; more get one note with their number."""


@dataclass
class CanonicalTable:
    """One file in canonical columns, each of shape (n,), without rows whose accident number is invalid."""

    table: str
    file: str
    columns: dict[str, NDArray[Any]]
    line: NDArray[np.int32]
    raw: RawTable
    era: Era

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

    def read_texts(self, column: str, rows: NDArray[np.intp]) -> list[str]:
        """The file's own text of cells, trimmed; "" for a column that the file does not have."""
        if column not in self.raw.columns:
            return [""] * len(rows)
        cells = self.raw.columns[column]
        return [cells[int(row)].as_py().strip() for row in np.searchsorted(self.raw.line, self.line[rows])]

    def note_some(self, rule: str, rows: NDArray[np.intp], column: str, why: str, notes: Quarantine) -> None:
        """Record repaired values: one by one, or where there are many, by one note with their number."""
        texts = self.read_texts(column, rows[: MAX_NOTES + 1])
        if len(rows) <= MAX_NOTES:
            self.repair(rule, rows, column, texts, why, notes)
        else:
            reason = f"({column} = {texts[0]}) {why}, like in {len(rows):,} of {len(self):,} rows"
            self.repair(rule, rows[:1], "", [""], reason, notes)

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
    """Read one published file of any era without the others of its year.

    Args:
        optional: columns that may be absent.

    Raises:
        UnreadableFile: it is not a file of this table, or of two eras.
    """
    raw = read_table(data, table, file, notes, optional)
    refuse_lost_numbers(raw)
    return to_canonical(raw, decide_era([collect_evidence(raw)]), notes)


def to_canonical(raw: RawTable, era: Era, notes: Quarantine) -> CanonicalTable:
    """The canonical columns of a file; every refused row and repaired value is added to `notes`.

    Args:
        era: the layout of the year's files, see `decide_era`.

    Raises:
        UnreadableFile: values of one column have two forms.
    """
    table, file = raw.table, raw.file
    forms = detect_forms(raw, era, notes)
    numbers, invalid = read.parse_accident_numbers(raw.columns["Num_Acc"])
    lines = raw.line.tolist()
    columns, problems = convert_columns(raw.columns, COLUMNS[table], len(raw.line), era, forms)
    columns = {name: numbers if name == "Num_Acc" else columns[name] for name in COLUMNS[table]}
    canonical = CanonicalTable(table, file, columns, raw.line, raw, era)
    if table == "caracteristiques":
        convert_locations(canonical.columns, forms.zero_follows)
        check_locations(raw, canonical.columns["dep"], canonical.columns["com"])
    if era == "until_2018":
        convert_old_layout(canonical.columns, raw.columns)
    for name, text, rule, reason, rows in problems:
        # Unknown severities are refused in the merge; values that are not filled in by the official rule are no repair.
        if name == "grav" or (rule == NOT_FILLED_IN and not notes.lists_not_filled_in):
            continue
        rows = rows[numbers[rows] != -1]  # a row without accident number is refused as a whole
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
    for name in ("id_vehicule", "id_usager"):
        if name in raw.columns and name in columns:
            lost = find_lost_ids(raw.columns[name], columns[name])
            canonical.note_some("lost_digits", lost, name, "has lost its last digits to scientific notation", notes)
    if len(invalid):
        texts = [raw.columns["Num_Acc"][int(row)].as_py() for row in invalid]
        canonical.refuse(
            "bad_key", invalid, "Num_Acc", texts, "is not an accident number (12 digits, year first)", notes
        )
        canonical.keep(numbers != -1)
    return canonical


def refuse_lost_numbers(raw: RawTable) -> None:
    """Raises UnreadableFile where a spreadsheet has saved the accident numbers as 2,024E+11."""
    row = read.find_lost_digits(raw.columns["Num_Acc"])
    if row is not None:
        raise UnreadableFile(
            f"{raw.file} line {raw.line[row]}: Num_Acc = {raw.columns['Num_Acc'][row].as_py().strip()[:40]} has lost "
            f"its digits (scientific notation of fewer than 12 digits); fix: format the column as a number without "
            f"decimals, or as text, before saving, or use the file as published"
        )
