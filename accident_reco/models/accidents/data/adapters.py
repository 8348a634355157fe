"""From published layouts to canonical columns.

Since 2019: `;`, decimal comma, `id_vehicule`, `secu1..3`, `07:40`. Until 2018: `,`, two-digit year, one `secu` of two
digits, widths in decimetres, coordinates times 100,000, `dep` followed by a 0 and `com` of three digits. The era of a
year's files is decided in `eras`, other forms of single columns in `forms`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook import UNKNOWN
from accident_reco.models.accidents.codebook.notation import parse_number
from accident_reco.models.accidents.data import values as read
from accident_reco.models.accidents.data.cells import NOT_FILLED_IN, Parsed, get_parser
from accident_reco.models.accidents.data.eras import COLUMNS_OF, Era, collect_evidence, decide_era
from accident_reco.models.accidents.data.forms import PUBLISHED, Forms, check_locations, detect_forms, read_location
from accident_reco.models.accidents.data.ids import find_lost_ids, strip_decimals
from accident_reco.models.accidents.data.quarantine import Quarantine
from accident_reco.models.accidents.data.reading import RawTable, UnreadableFile, read_table
from accident_reco.models.accidents.data.schema import COLUMNS, REAL, TEXT, get_dtype

_IDS: Final = frozenset({"id_usager", "id_vehicule", "num_veh", "pr", "pr1", "dep", "com"})
MAX_NOTES: Final = 20
"""Rows of one cause that get a note each; more get one note with their number."""

Problem = tuple[str, str, str, str, NDArray[np.intp]]
"""Column, text, rule, reason, rows."""


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


def read_canonical(data: bytes, table: str, file: str, notes: Quarantine) -> CanonicalTable:
    """Read one published file of any era without the others of its year.

    Raises:
        UnreadableFile: it is not a file of this table, or of two eras.
    """
    raw = read_table(data, table, file, notes)
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
        _convert_locations(canonical, raw, forms)
    if era == "until_2018":
        _convert_old_layout(canonical, raw)
    for name, text, rule, reason, rows in problems:
        # Unknown severities are refused in the merge; values that are not filled in by the official rule are no repair.
        if name == "grav" or rule == NOT_FILLED_IN:
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


def convert_columns(
    raw: Mapping[str, pa.Array], names: Iterable[str], count: int, era: Era, forms: Forms | None = None
) -> tuple[dict[str, NDArray[Any]], list[Problem]]:
    """Canonical columns, each of shape (count,), of raw text in the layout of an era, and what is not taken literally.

    Columns that are absent, or of the other era only, are missing in every row. `Num_Acc` is left to
    `values.parse_accident_numbers`; what old layouts state differently is left to `to_canonical`.

    Args:
        forms: how the file writes its values; by default as published in the era.
    """
    forms = forms or PUBLISHED[era]
    # Columns of the other era are empty here: whatever they are filled up with is no value.
    other_era = COLUMNS_OF["until_2018" if era == "since_2019" else "since_2019"]
    columns: dict[str, NDArray[Any]] = {}
    problems: list[Problem] = []
    for name in names:
        if name == "Num_Acc":
            continue
        if name not in raw or name in other_era:
            columns[name] = _build_missing_column(name, count)
        elif name in TEXT:
            columns[name] = strip_decimals(read.clean_text(raw[name], name in _IDS), name)
        elif name in ("lat", "long"):
            columns[name], bad = read.parse_degrees(raw[name], forms.degrees, name == "lat")
            problems += [
                (name, raw[name][int(row)].as_py(), "not_a_number", "is not a number", np.array([row])) for row in bad
            ]
        else:
            parsed = read.parse_column(raw[name], get_parser(name, forms.select_layout(name, era)), get_dtype(name))
            columns[name] = parsed.values
            problems += [(name, *problem) for problem in parsed.problems]
    return columns, problems


def _build_missing_column(name: str, count: int) -> NDArray[Any]:
    if name in TEXT:
        return np.full(count, None, dtype=object)
    return np.full(count, np.nan if name in REAL else UNKNOWN, dtype=get_dtype(name))


def _convert_locations(table: CanonicalTable, raw: RawTable, forms: Forms) -> None:
    """Convert departments and communes to INSEE codes."""
    columns = table.columns
    pairs = zip(columns["dep"].tolist(), columns["com"].tolist(), strict=True)
    known: dict[tuple[str | None, str | None], tuple[str | None, str | None]] = {}
    codes = [known.setdefault(at, known.get(at) or read_location(*at, forms.zero_follows)) for at in pairs]
    columns["dep"] = np.array([dep for dep, _ in codes], dtype=object)
    columns["com"] = np.array([com for _, com in codes], dtype=object)
    check_locations(raw, columns["dep"], columns["com"])


def _convert_old_layout(table: CanonicalTable, raw: RawTable) -> None:
    """Convert missing coordinates, safety equipment and seats of pedestrians of the old layout to the new one."""
    columns = table.columns
    if table.table == "caracteristiques":
        nowhere = (columns["lat"] == 0) | (columns["long"] == 0) & (np.abs(columns["lat"].astype(float)) < 1)
        for name in ("lat", "long"):
            columns[name] = np.where(nowhere, np.nan, columns[name])
    if table.table == "usagers":
        if "secu" in raw.columns:
            columns["secu1"] = read.parse_column(raw.columns["secu"], _parse_old_equipment, "int16").values
        on_foot = columns["catu"] == 3
        columns["place"] = np.where(on_foot & (columns["place"] == UNKNOWN), 10, columns["place"]).astype("int16")


def _parse_old_equipment(text: str) -> Parsed:
    """`secu` (kind, then use) as `secu1` since 2019: used → kind, not used → 0, undetermined → 8."""
    number = parse_number(text)
    kind, use = divmod(int(number), 10) if number is not None and 0 <= number <= 99 else (0, 0)
    if use == 1:
        return (kind if kind in (1, 2, 3, 4, 9) else UNKNOWN), "", ""
    if use == 2:
        return 0, "", ""
    return (8 if use == 3 or kind else UNKNOWN), "", ""
