"""Incremental reader of BAAC-like CSV and writer of the answer's CSV; an invalid line does not affect others.

Header: official column names in any order, separator `;`, `,` or tab; notations of the published files are accepted
(decimal comma, " -1" and "N/A" as unknown, clock times). Columns that are no input are ignored.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from accident_reco.models.accidents import codebook
from accident_reco.models.accidents.data import schema
from accident_reco.models.accidents.features.context import CONTEXT_COLUMNS
from accident_reco.models.accidents.scoring.answer import JSON_FIELDS, PREDICTION_ID
from accident_reco.models.accidents.serving.request import MAX_NUMBER, MAX_TEXT, RECORD_FIELDS, get_context_bounds
from serving.common.problems import Problem

MAX_LINE: Final = 16 * 1024
MAX_DIGITS: Final = 32  # leading zeros included; `int` refuses text of thousands of digits
# Columns that identify a row; they are returned in the answer.
KEYS: Final = ("Num_Acc", "id_usager", "id_vehicule", "num_veh")
ANSWER_FIELDS: Final = (PREDICTION_ID, *(field.name for field in JSON_FIELDS))
ANSWER_HEADER: Final = ("line", *KEYS, *ANSWER_FIELDS, "error")
_KNOWN: Final = frozenset((*RECORD_FIELDS, *CONTEXT_COLUMNS))
_UNKNOWN_CELLS: Final = frozenset({"", "-1", "N/A", "NA", "nan", "None", "null"})
_MAX_CACHED_CELLS: Final = 2_000
# Prefixes that a spreadsheet interprets as a formula, full-width ones included.
_FORMULA_PREFIXES: Final = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@dataclass
class CsvRow:
    """One line of the input: its values, or the error that makes it invalid."""

    line: int
    keys: list[str]
    values: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


class LineSplitter:
    """Splits chunks of bytes into physical lines; buffers at most one incomplete line."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._rest = ""

    def feed(self, data: bytes, last: bool = False) -> Iterator[str]:
        """The lines that are complete after `data`.

        Raises:
            Problem: 422, a line is longer than `MAX_LINE` characters.
        """
        text = self._rest + self._decoder.decode(data, last)
        lines = text.split("\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_LINE:
            raise Problem(422, f"A line may have at most {MAX_LINE} characters.", kind="line-too-long")
        yield from lines
        if last and self._rest:
            yield self._rest
            self._rest = ""


class CsvTable:
    """Columns of the header, and the parser of the lines below it.

    Raises:
        Problem: 422, the header has no BAAC column, or one of them twice.
    """

    def __init__(self, header: str) -> None:
        self.delimiter = max(";,\t", key=header.count)
        try:
            names = _split_cells(header, self.delimiter)
        except csv.Error:
            rule = "The header cannot be read: lines end with a line feed, and quotes match."
            raise Problem(422, rule, kind="bad-header") from None
        self._columns = [_to_column_name(name) for name in names]
        known = [name for name in self._columns if name is not None]
        if not any(name in _KNOWN for name in known):
            raise Problem(422, "The first line must name BAAC columns, such as catu;sexe;an_nais.", kind="no-header")
        repeated = sorted({name for name in known if known.count(name) > 1})
        if repeated:
            raise Problem(422, f"Columns are named twice: {', '.join(repeated)}.", kind="bad-header")
        self._parsed: dict[str, dict[str, tuple[Any, str | None]]] = {name: {} for name in known}

    def row(self, number: int, line: str) -> CsvRow:
        """The row of a line, with an error if it is invalid."""
        row = CsvRow(number, [""] * len(KEYS))
        if len(line) > MAX_LINE:
            row.error = f"the line has more than {MAX_LINE} characters"
            return row
        try:
            cells = _split_cells(line, self.delimiter)
        except csv.Error:
            row.error = "the line cannot be read: quotes do not match"
            return row
        if len(cells) != len(self._columns):
            row.error = f"the line has {len(cells)} fields, the header {len(self._columns)}"
            return row
        for name, cell in zip(self._columns, cells, strict=True):
            if name is None:
                continue
            if name in KEYS:
                row.keys[KEYS.index(name)] = cell.strip()[:MAX_TEXT]
            if name not in _KNOWN:
                continue
            value, problem = self._value(name, cell)
            if problem is not None:
                row.error = problem
                return row
            if value is not None:
                row.values[name] = value
        return row

    def _value(self, name: str, cell: str) -> tuple[Any, str | None]:
        # Codes repeat: nearly every cell has been parsed before.
        cache = self._parsed[name]
        parsed = cache.get(cell)
        if parsed is None:
            parsed = parse_cell(name, cell)
            if len(cache) < _MAX_CACHED_CELLS:
                cache[cell] = parsed
        return parsed


def parse_cell(name: str, cell: str) -> tuple[Any, str | None]:
    """Value of a cell (None: unknown), or an error message, which states the rule but not the value."""
    text = cell.replace("\u00a0", " ").strip()
    if text in _UNKNOWN_CELLS and not (text == "-1" and name in schema.REAL and codebook.get_field(name).accepts(-1)):
        return None, None
    if name in schema.TEXT:
        return text[:MAX_TEXT], None
    if name in CONTEXT_COLUMNS:
        number = codebook.to_number("nbv", text)
        low, high = get_context_bounds(name)
        if number is None or number != int(number) or not low <= number <= high:
            return None, f"{name} takes {low} to {high}, or -1 for unknown"
        return int(number), None
    spec = codebook.get_field(name)
    if name == "Num_Acc":
        good = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and int(text) <= MAX_NUMBER
        return (int(text), None) if good else (None, f"Num_Acc takes whole numbers up to {MAX_NUMBER}")
    number = codebook.to_number(name, text.replace(" ", ""))
    if number is None or (not spec.real and number != int(number)) or not spec.accepts(number):
        return None, f"{name} ({spec.en.lower()}) takes {spec.allowed}, or -1 for unknown"
    return (float(number) if spec.real else int(number)), None


def _to_column_name(header: str) -> str | None:
    name = header.strip().strip("\ufeff")
    return name if name in _KNOWN else schema.to_official_name(name)


def _split_cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader((line.rstrip("\r\n"),), delimiter=delimiter, strict=True), [])


def escape_formula(cell: str) -> str:
    """The cell, prefixed with an apostrophe if a spreadsheet would run it as a formula; numbers are unchanged."""
    if cell.startswith(_FORMULA_PREFIXES):
        try:
            float(cell.replace(",", "."))
        except ValueError:
            return "'" + cell
    return cell


def _format_cell(value: Any) -> Any:
    if isinstance(value, str):
        return escape_formula(value)
    return int(value) if isinstance(value, bool) else value


def write_rows(rows: Sequence[Sequence[Any]]) -> bytes:
    """Lines of the answer, UTF-8."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\n")
    writer.writerows([[_format_cell(value) for value in row] for row in rows])
    return out.getvalue().encode()
