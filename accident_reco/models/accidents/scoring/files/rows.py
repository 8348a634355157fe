"""From raw rows to canonical columns of road users, with a note for every value that is not taken literally.

The readers and repairs are those of ingestion (`data.cells`, `data.values`, `data.coordinates`, `data.repairs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.data import schema
from accident_reco.models.accidents.data.cells import NOT_FILLED_IN, SINCE_2019, UNTIL_2018, Parsed
from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS, get_context_bounds
from accident_reco.models.accidents.scoring.files.raw_blocks import KEYS, RawBlock

MAX_TEXT: Final = 200
_MAX_VALUE: Final = 40
_MAX_NOTES: Final = 12
_NUMBER_YEAR: Final = 100_000_000
_FIRST_NEW_NUMBER: Final = 201_900_000_000
_NEW_COLUMNS: Final = frozenset({"id_usager", "id_vehicule", "motor", "secu1"})
_OLD_COLUMNS: Final = frozenset({"secu", "gps"})

Columns = dict[str, NDArray[Any]]


@dataclass
class RoadUserRows:
    """Road users of a file in canonical columns.

    Args:
        line: physical line, shape (n,).
        columns: official name → canonical numbers, shape (n,); with context columns where they are known.
        texts: official name → canonical text, shape (n,), null where missing; pyarrow, which is compact.
        keys: key → text as in the file, shape (n,); pyarrow.
        notes: remarks of each row, shape (n,), "" where there are none.
        is_full: whether each row's context is complete, shape (n,).
        errors: line that is no row → reason.
    """

    line: NDArray[np.int64]
    columns: Columns
    texts: dict[str, Any]
    keys: dict[str, Any]
    notes: list[str]
    is_full: NDArray[np.bool_]
    errors: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.line)


class RowNotes:
    """Collects remarks by row; has the interface of a quarantine, so that the repairs of ingestion write to it."""

    def __init__(self, line: NDArray[np.int64], initial: Mapping[int, str]) -> None:
        self._row_of = {int(number): row for row, number in enumerate(line.tolist())} if initial else None
        self._line = line
        self._notes: dict[int, list[str]] = {}
        for number, text in initial.items():
            if self._row_of is not None and number in self._row_of:
                self._notes.setdefault(self._row_of[number], []).append(text)

    def add(
        self,
        rule: str,
        table: str,
        file: str,
        lines: Iterable[int],
        column: str,
        values: Iterable[str],
        why: str | Iterable[str],
        num_acc: Iterable[int] | None = None,
        raw: Iterable[str] | None = None,
    ) -> None:
        """Add a note per row; `lines` are rows here."""
        rows = list(lines)
        reasons = [why] * len(rows) if isinstance(why, str) else why
        for row, value, reason in zip(rows, values, reasons, strict=True):
            self.add_value(rule, row, column, value, reason)

    def add_value(self, rule: str, row: int, column: str, value: str, reason: str) -> None:
        """Add the note of one value."""
        self.add_text(int(row), f"{column} = {_shorten(value)} {reason}; {_get_outcome(rule)}")

    def add_text(self, row: int, text: str) -> None:
        """Add a note."""
        notes = self._notes.setdefault(row, [])
        if len(notes) < _MAX_NOTES:
            notes.append(text)

    @property
    def is_empty(self) -> bool:
        """Whether there is no remark."""
        return not self._notes

    def to_list(self) -> list[str]:
        """Notes of each row."""
        joined = [""] * len(self._line)
        for row, notes in self._notes.items():
            joined[row] = " | ".join(notes)
        return joined


def _get_outcome(rule: str) -> str:
    from accident_reco.models.accidents.data.quarantine import RULES

    return "read as unknown" if rule == NOT_FILLED_IN else RULES[rule].outcome


def _shorten(value: str) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in value.strip()[: _MAX_VALUE + 1])
    return shown if len(shown) <= _MAX_VALUE else shown[:_MAX_VALUE] + "…"


@dataclass
class _RepairTable:
    """The part of a canonical table that repairs use, with row numbers for lines."""

    columns: Columns
    count: int

    def repair(
        self, rule: str, rows: NDArray[np.intp], column: str, values: list[str], why: Any, notes: RowNotes
    ) -> None:
        notes.add(rule, "", "", rows.tolist(), column, values, why)


class RowReader:
    """Reads the raw blocks of one file; the layout (until 2018, since 2019) is decided by the first block with rows."""

    def __init__(self) -> None:
        self._era: str | None = None

    def read(self, raw: RawBlock) -> RoadUserRows:
        """Canonical rows of a block, without context but for what the file states."""
        from accident_reco.models.accidents.data.conversion import (
            convert_columns,
            convert_locations,
            convert_old_layout,
        )

        count = len(raw.line)
        notes = RowNotes(raw.line, raw.notes)
        numbers = self._read_numbers(raw, notes)
        if self._era is None and count:
            self._era = _decide_era(raw.columns.keys(), numbers)
        era: Literal["since_2019", "until_2018"] = "until_2018" if self._era == UNTIL_2018 else "since_2019"
        names = [name for name in raw.columns if name not in CONTEXT_COLUMNS and name not in _OLD_COLUMNS]
        columns, problems = convert_columns(raw.columns, names, count, era)
        convert_locations(columns, era == UNTIL_2018)
        if era == UNTIL_2018:
            convert_old_layout(columns, raw.columns)
        for name in CONTEXT_COLUMNS:
            if name in raw.columns:
                columns[name], found = _read_context_column(raw.columns[name], name)
                problems += found
        if numbers is not None:
            columns["Num_Acc"] = numbers
        for name, text, rule, reason, rows in problems:
            for row in rows.tolist():
                notes.add_value(rule, row, name, text, reason)
        keys = {name: read_key(raw.columns[name]) for name in KEYS if name in raw.columns}
        _repair_accidents(columns, count, notes)
        texts = {name: to_arrow(columns.pop(name)) for name in schema.TEXT & columns.keys()}
        return RoadUserRows(raw.line, columns, texts, keys, notes.to_list(), np.zeros(count, dtype=bool), raw.errors)

    @staticmethod
    def _read_numbers(raw: RawBlock, notes: RowNotes) -> NDArray[np.int64] | None:
        from accident_reco.models.accidents.codebook.notation import has_lost_digits, is_missing
        from accident_reco.models.accidents.data.values import parse_accident_numbers

        if "Num_Acc" not in raw.columns:
            return None
        column = raw.columns["Num_Acc"]
        numbers, wrong = parse_accident_numbers(column)
        for row in wrong.tolist():
            text = column[row].as_py().strip()
            if not is_missing(text):
                lost = has_lost_digits(text)
                why = "has lost its digits (scientific notation)" if lost else "is not an accident number (12 digits)"
                notes.add_value(NOT_FILLED_IN, row, "Num_Acc", text, why)
        return numbers


def repair_birth_years_after_context(rows: RoadUserRows) -> None:
    """Set impossible birth years to unknown, with a note: after the context is computed, as in ingestion."""
    from accident_reco.models.accidents.data.repairs import repair_birth_years

    if "an_nais" not in rows.columns:
        return
    an = rows.columns.get("an")
    if an is None:
        return
    born = rows.columns["an_nais"]
    # A copy: the window still needs the values as published.
    rows.columns["an_nais"] = born.copy()
    notes = RowNotes(rows.line, {})
    table = _RepairTable(rows.columns, len(rows))
    repair_birth_years(table, np.where(an > 0, an, born), notes)  # type: ignore[arg-type]
    if notes.is_empty:
        return
    rows.notes = [" | ".join(filter(None, pair)) for pair in zip(rows.notes, notes.to_list(), strict=True)]


def _repair_accidents(columns: Columns, count: int, notes: RowNotes) -> None:
    from accident_reco.models.accidents.data.coordinates import repair_coordinates
    from accident_reco.models.accidents.data.repairs import repair_dates

    if "an" in columns and "Num_Acc" in columns:
        numbers = columns["Num_Acc"]
        years = np.where(numbers > 0, numbers // _NUMBER_YEAR, -1)
        columns["an"] = np.where(columns["an"] > 0, columns["an"], years).astype(np.int16)
    table = _RepairTable(columns, count)
    if {"an", "mois", "jour"} <= columns.keys():
        repair_dates(table, notes)  # type: ignore[arg-type]
    # Without a department any French territory is possible: coordinates are left as they are.
    if {"lat", "long", "dep"} <= columns.keys():
        repair_coordinates(table, notes)  # type: ignore[arg-type]


def _decide_era(names: Iterable[str], numbers: NDArray[np.int64] | None) -> str:
    """Layout of a file of joined tables: by columns that only one has, else by the accident numbers."""
    found = set(names)
    if _OLD_COLUMNS & found and not _NEW_COLUMNS & found:
        return UNTIL_2018
    if _NEW_COLUMNS & found or numbers is None:
        return SINCE_2019
    known = numbers[numbers > 0]
    return UNTIL_2018 if len(known) and np.median(known) < _FIRST_NEW_NUMBER else SINCE_2019


def _read_context_column(column: Any, name: str) -> tuple[NDArray[Any], list[Any]]:
    from accident_reco.models.accidents.codebook.notation import is_missing, parse_number
    from accident_reco.models.accidents.data.values import parse_column

    low, high = get_context_bounds(name)

    def parse(text: str) -> Parsed:
        if is_missing(text):
            return -1, "", ""
        value = parse_number(text)
        if value is None or not value.is_integer() or not (low <= value <= high or value == -1):
            return -1, "out_of_range", f"is not in {low} to {high}"
        return value, "", ""

    parsed = parse_column(column, parse, "int32")
    return parsed.values, [(name, *problem) for problem in parsed.problems]


def read_key(column: Any) -> Any:
    """A key as in the file, trimmed, of at most `MAX_TEXT` characters."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = column.cast(pa.string()) if isinstance(column, pa.DictionaryArray) else column
    return pc.utf8_slice_codeunits(pc.utf8_trim_whitespace(texts), 0, MAX_TEXT)


def to_arrow(texts: NDArray[np.object_]) -> Any:
    """Text of at most `MAX_TEXT` characters as a pyarrow array, shape (n,)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.utf8_slice_codeunits(pa.array(texts, pa.string()), 0, MAX_TEXT).dictionary_encode()


def to_objects(texts: Any) -> NDArray[np.object_]:
    """A pyarrow array of text as the feature builder takes it, shape (n,), None where missing."""
    import pyarrow as pa

    return texts.cast(pa.string()).to_numpy(zero_copy_only=False)
