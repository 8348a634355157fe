"""Reads BAAC-like CSV piece by piece and writes the answers' CSV; a bad line is told by number and stops no other.

Header: official column names in any order, separator `;`, `,` or tab; published quirks are read as the files have them
(decimal comma, " -1" and "N/A" as unknown, clock times). Columns that carry no input are passed over.
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
from accident_reco.models.accidents.serving.request import MAX_NUMBER, MAX_TEXT, RECORD_FIELDS, context_bounds
from serving.common.problems import Problem

MAX_LINE: Final = 16 * 1024
# Columns that say which row is which: they come back in the answer.
KEYS: Final = ("Num_Acc", "id_usager", "id_vehicule", "num_veh")
ANSWER_FIELDS: Final = (PREDICTION_ID, *(field.name for field in JSON_FIELDS))
ANSWER_HEADER: Final = ("line", *KEYS, *ANSWER_FIELDS, "error")
_KNOWN: Final = frozenset((*RECORD_FIELDS, *CONTEXT_COLUMNS))
_UNKNOWN_CELLS: Final = frozenset({"", "-1", "N/A", "NA", "nan", "None", "null"})
_REMEMBERED: Final = 2_000
# What a spreadsheet would take for a formula, in full width too.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@dataclass
class Row:
    """One line of the input: its values, or what is wrong with it."""

    line: int
    keys: list[str]
    values: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


class Lines:
    """Bytes in, physical lines out; at most one line is held back."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._rest = ""

    def feed(self, data: bytes, last: bool = False) -> Iterator[str]:
        """The lines that are complete now. Raises Problem for a line of absurd length."""
        text = self._rest + self._decoder.decode(data, last)
        lines = text.split("\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_LINE:
            raise Problem(422, f"A line may have at most {MAX_LINE} characters.", kind="line-too-long")
        yield from lines
        if last and self._rest:
            yield self._rest
            self._rest = ""


class Table:
    """What the header says, and the way from a line to a row."""

    def __init__(self, header: str) -> None:
        self.delimiter = max(";,\t", key=header.count)
        names = _cells(header, self.delimiter)
        self._columns = [_official(name) for name in names]
        known = [name for name in self._columns if name is not None]
        if not any(name in _KNOWN for name in known):
            raise Problem(422, "The first line must name BAAC columns, such as catu;sexe;an_nais.", kind="no-header")
        twice = sorted({name for name in known if known.count(name) > 1})
        if twice:
            raise Problem(422, f"Columns are named twice: {', '.join(twice)}.", kind="bad-header")
        self.ignored = sum(name is None or name not in _KNOWN for name in self._columns)
        self._seen: dict[str, dict[str, tuple[Any, str | None]]] = {name: {} for name in known}

    def row(self, number: int, line: str) -> Row:
        """The row of a line."""
        row = Row(number, [""] * len(KEYS))
        if len(line) > MAX_LINE:
            row.error = f"the line has more than {MAX_LINE} characters"
            return row
        try:
            cells = _cells(line, self.delimiter)
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
        # Codes repeat: nearly every cell was seen before.
        seen = self._seen[name]
        known = seen.get(cell)
        if known is None:
            known = parse_cell(name, cell)
            if len(seen) < _REMEMBERED:
                seen[cell] = known
        return known


def parse_cell(name: str, cell: str) -> tuple[Any, str | None]:
    """Value of a cell (None: unknown), or what is wrong with it. The message names the rule, not the value."""
    text = cell.replace("\u00a0", " ").strip()
    if text in _UNKNOWN_CELLS and not (text == "-1" and name in schema.REAL and codebook.field(name).accepts(-1)):
        return None, None
    if name in schema.TEXT:
        return text[:MAX_TEXT], None
    if name in CONTEXT_COLUMNS:
        number = codebook.canonical("nbv", text)
        low, high = context_bounds(name)
        if number is None or number != int(number) or not low <= number <= high:
            return None, f"{name} takes {low} to {high}, or -1 for unknown"
        return int(number), None
    spec = codebook.field(name)
    if name == "Num_Acc":
        good = text.isascii() and text.isdigit() and int(text) <= MAX_NUMBER
        return (int(text), None) if good else (None, f"Num_Acc takes whole numbers up to {MAX_NUMBER}")
    number = codebook.canonical(name, text.replace(" ", ""))
    if number is None or (not spec.real and number != int(number)) or not spec.accepts(number):
        return None, f"{name} ({spec.en.lower()}) takes {spec.allowed}, or -1 for unknown"
    return (float(number) if spec.real else int(number)), None


def _official(header: str) -> str | None:
    name = header.strip().strip("\ufeff")
    return name if name in _KNOWN else schema.official_name(name)


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader((line.rstrip("\r\n"),), delimiter=delimiter, strict=True), [])


def harmless(cell: str) -> str:
    """A cell that no spreadsheet runs: what looks like a formula gets an apostrophe in front; numbers stay."""
    if cell.startswith(_FORMULA):
        try:
            float(cell.replace(",", "."))
        except ValueError:
            return "'" + cell
    return cell


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return harmless(value)
    return int(value) if isinstance(value, bool) else value


def write_rows(rows: Sequence[Sequence[Any]]) -> bytes:
    """Lines of the answer."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\n")
    writer.writerows([[_cell(value) for value in row] for row in rows])
    return out.getvalue().encode()
