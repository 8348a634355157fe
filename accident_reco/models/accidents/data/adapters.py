"""From published layouts to canonical columns, by the header, never by the year.

Since 2019: `;`, decimal comma, `id_vehicule`, `secu1..3`, `07:40`. Until 2018: `,`, two-digit year, one `secu` of two
digits, widths in decimetres, coordinates times 100,000, `dep` followed by a 0 and `com` of three digits.
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
from accident_reco.models.accidents.data.quarantine import Quarantine
from accident_reco.models.accidents.data.reading import RawTable, UnreadableFile, read_table
from accident_reco.models.accidents.data.schema import COLUMNS, REAL, TEXT, get_dtype

_IDS: Final = frozenset({"id_usager", "id_vehicule", "num_veh", "pr", "pr1", "dep", "com"})
_WIDTHS: Final = {"dep": 2, "com": 5}
_SINCE_2019: Final = frozenset({"id_vehicule", "id_usager", "motor", "vma", "secu1"})
_UNTIL_2018: Final = frozenset({"secu", "gps", "env1"})


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
    era: str

    def __len__(self) -> int:
        return len(self.line)

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


def read_canonical(data: bytes, table: str, file: str, notes: Quarantine) -> CanonicalTable:
    """Read one published file of any era; every refused row and repaired value is added to `notes`.

    Raises:
        UnreadableFile: it is not a file of this table.
    """
    raw = read_table(data, table, file, notes)
    era = detect_era(raw)
    refuse_lost_numbers(raw)
    numbers, invalid = read.parse_accident_numbers(raw.columns["Num_Acc"])
    lines = raw.line.tolist()
    columns, problems = convert_columns(raw.columns, COLUMNS[table], len(raw.line), era)
    columns = {name: numbers if name == "Num_Acc" else columns[name] for name in COLUMNS[table]}
    canonical = CanonicalTable(table, file, columns, raw.line, raw, era)
    if era == "until_2018":
        _convert_old_layout(canonical, raw)
    for name, text, rule, reason, rows in problems:
        # Unknown severities are refused in the merge; values that are not filled in by the official rule are no repair.
        if name == "grav" or rule == NOT_FILLED_IN:
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


def convert_columns(
    raw: Mapping[str, pa.Array], names: Iterable[str], count: int, era: str
) -> tuple[dict[str, NDArray[Any]], list[Problem]]:
    """Canonical columns, each of shape (count,), of raw text in the layout of an era, and what is not taken literally.

    Columns that are absent are missing in every row. `Num_Acc` is left to `values.parse_accident_numbers`; what old
    layouts state differently is left to `convert_old_layout`.
    """
    columns: dict[str, NDArray[Any]] = {}
    problems: list[Problem] = []
    for name in names:
        if name == "Num_Acc":
            continue
        if name not in raw:
            columns[name] = _build_missing_column(name, count)
        elif name in TEXT:
            width = _WIDTHS.get(name, 0) if era == "since_2019" else 0
            columns[name] = read.clean_text(raw[name], name in _IDS, width)
        elif name in ("lat", "long"):
            scale = 1e-5 if era == "until_2018" else 1.0
            columns[name], bad = read.parse_degrees(raw[name], scale, name == "lat")
            problems += [
                (name, raw[name][int(row)].as_py(), "not_a_number", "is not a number", np.array([row])) for row in bad
            ]
        else:
            parsed = read.parse_column(raw[name], get_parser(name, era), get_dtype(name))
            columns[name] = parsed.values
            problems += [(name, *problem) for problem in parsed.problems]
    return columns, problems


def _build_missing_column(name: str, count: int) -> NDArray[Any]:
    if name in TEXT:
        return np.full(count, None, dtype=object)
    return np.full(count, np.nan if name in REAL else UNKNOWN, dtype=get_dtype(name))


def _convert_old_layout(table: CanonicalTable, raw: RawTable) -> None:
    """Convert locations, safety equipment and seats of pedestrians of the old layout to the new one."""
    columns = table.columns
    if table.table == "caracteristiques":
        pairs = zip(columns["dep"].tolist(), columns["com"].tolist(), strict=True)
        known: dict[tuple[str | None, str | None], tuple[str | None, str | None]] = {}
        codes = [known.setdefault(pair, known.get(pair) or convert_old_location(*pair)) for pair in pairs]
        columns["dep"] = np.array([dep for dep, _ in codes], dtype=object)
        columns["com"] = np.array([com for _, com in codes], dtype=object)
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


def convert_old_location(dep: str | None, com: str | None) -> tuple[str | None, str | None]:
    """INSEE codes of the old `dep` (followed by 0; 201 and 202 are Corsica; 97x unchanged) and three-digit `com`."""
    number = parse_number(dep) if dep else None
    if number is None:
        return dep, com
    code = int(number)
    if code in (201, 202):
        department = "2A" if code == 201 else "2B"
    elif 971 <= code <= 989:
        department = str(code)
    else:
        department = f"{code // 10:02d}"
    local = parse_number(com) if com else None
    if local is None:
        return department, None
    within = int(local)
    if len(department) == 3:
        return department, f"{department[:2]}{within:03d}" if within >= 100 else f"{department}{within:02d}"
    return department, f"{department}{within:03d}"
