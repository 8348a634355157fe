"""Scored rows as CSV, JSON lines or Parquet: one row for each line of the file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final, Protocol

from accident_reco.models.accidents.scoring.answer import JSON_FIELDS, PREDICTION_ID
from accident_reco.models.accidents.scoring.files.raw_blocks import KEYS
from accident_reco.models.accidents.scoring.files.rows import RoadUserRows
from accident_reco.models.accidents.scoring.scorer import Answer

PREDICTED: Final = (PREDICTION_ID, *(field.name for field in JSON_FIELDS))
COLUMNS: Final = ("line", *KEYS, *PREDICTED, "context", "notes", "error")
"""Columns of an answer."""
LOCATIONS: Final = ("dep", "com", "lat", "long")
"""Columns of an answer on request: the place of the accident, as it was read."""
# Prefixes that a spreadsheet interprets as a formula, full-width ones included.
_FORMULA_PREFIXES: Final = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_FORMULA_BEGINNINGS: Final = frozenset(_FORMULA_PREFIXES)
_KINDS: Final = {float: "float64", bool: "bool_"}


@dataclass
class ScoredRows:
    """Rows of a file with their answers, in the order of the file.

    Args:
        rows: road users; `rows.errors` are lines without a prediction.
        answer: probability, class and uncertainty, shape (n,) each.
        ids: prediction ids.
        seconds: time that scoring took.
    """

    rows: RoadUserRows
    answer: Answer
    ids: Sequence[str]
    seconds: float

    def columns(self, *, with_locations: bool = False) -> dict[str, list[Any]]:
        """Values by `list_columns`, lines without a prediction included; absent values are None."""
        rows, count = self.rows, len(self.rows)
        values: dict[str, list[Any]] = {"line": rows.line.tolist()}
        for name in KEYS:
            values[name] = rows.keys[name].to_pylist() if name in rows.keys else [""] * count
        values[PREDICTION_ID] = list(self.ids)
        if with_locations:
            values |= {name: self._read_location(name) for name in LOCATIONS}
        for field in JSON_FIELDS:
            values[field.name] = field.column(self.answer).tolist()
        values["context"] = ["full" if full else "partial" for full in rows.is_full.tolist()]
        values["notes"] = rows.notes
        values["error"] = [""] * count
        if rows.errors:
            _insert_errors(values, rows.errors)
        return values

    def _read_location(self, name: str) -> list[Any]:
        rows = self.rows
        if name in rows.texts:
            return list(rows.texts[name].to_pylist())
        if name in rows.columns:
            return [None if value != value else value for value in rows.columns[name].tolist()]
        return [None] * len(rows)


def list_columns(*, with_locations: bool = False) -> tuple[str, ...]:
    """Columns of an answer, with those of `LOCATIONS` after the keys where they are requested."""
    head = 1 + len(KEYS)
    return (*COLUMNS[:head], *LOCATIONS, *COLUMNS[head:]) if with_locations else COLUMNS


def _insert_errors(values: dict[str, list[Any]], errors: dict[int, str]) -> None:
    lines = [*values["line"], *errors]
    order = sorted(range(len(lines)), key=lines.__getitem__)
    blank: dict[str, Any] = dict.fromkeys(KEYS, "") | {"notes": ""}
    for name in values:
        added: list[Any] = (
            list(errors)
            if name == "line"
            else list(errors.values())
            if name == "error"
            else ([blank.get(name)] * len(errors))
        )
        joined = [*values[name], *added]
        values[name] = [joined[position] for position in order]


class AnswerWriter(Protocol):
    """Encodes an answer piece by piece.

    Args:
        with_locations: whether the rows have the columns of `LOCATIONS`.
    """

    media_type: str

    def __init__(self, *, with_locations: bool = False) -> None: ...

    def begin(self) -> bytes:
        """What comes before the rows."""

    def write(self, scored: ScoredRows) -> bytes:
        """Rows."""

    def end(self) -> bytes:
        """What comes after the rows."""

    def fail(self, line: int, message: str) -> bytes:
        """A last row for a file that cannot be read to its end."""


def escape_formula(cell: str) -> str:
    """The cell, prefixed with an apostrophe if a spreadsheet would run it as a formula; numbers are unchanged."""
    if cell.startswith(_FORMULA_PREFIXES):
        try:
            float(cell.replace(",", "."))
        except ValueError:
            return "'" + cell
    return cell


class CsvWriter:
    """UTF-8, separated by semicolons, with a header; cells that a spreadsheet would run as a formula are escaped."""

    media_type = "text/csv; charset=utf-8"

    def __init__(self, *, with_locations: bool = False) -> None:
        self._with_locations = with_locations
        self._columns = list_columns(with_locations=with_locations)

    def begin(self) -> bytes:
        return (";".join(self._columns) + "\n").encode()

    def write(self, scored: ScoredRows) -> bytes:
        values = scored.columns(with_locations=self._with_locations)
        for name in values.keys() & {*KEYS, "dep", "com"}:
            if any(cell[:1] in _FORMULA_BEGINNINGS for cell in values[name] if cell):
                values[name] = [cell and escape_formula(cell) for cell in values[name]]
        for name, cells in values.items():
            if cells and isinstance(cells[0], bool | None):
                values[name] = [int(cell) if isinstance(cell, bool) else cell for cell in cells]
        return _to_lines(zip(*(values[name] for name in self._columns), strict=True))

    def end(self) -> bytes:
        return b""

    def fail(self, line: int, message: str) -> bytes:
        return _to_lines([[line, *[""] * (len(self._columns) - 2), message]])


def _to_lines(rows: Any) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=";", lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


class JsonLinesWriter:
    """One JSON object per line; blank keys and absent values are null."""

    media_type = "application/x-ndjson"

    def __init__(self, *, with_locations: bool = False) -> None:
        self._with_locations = with_locations
        self._columns = list_columns(with_locations=with_locations)

    def begin(self) -> bytes:
        return b""

    def write(self, scored: ScoredRows) -> bytes:
        import orjson

        values = scored.columns(with_locations=self._with_locations)
        for name in (*KEYS, "error"):
            values[name] = [cell or None for cell in values[name]]
        rows = zip(*(values[name] for name in self._columns), strict=True)
        return b"".join(orjson.dumps(dict(zip(self._columns, row, strict=True))) + b"\n" for row in rows)

    def end(self) -> bytes:
        return b""

    def fail(self, line: int, message: str) -> bytes:
        import orjson

        return orjson.dumps({**dict.fromkeys(self._columns), "line": line, "error": message}) + b"\n"


class ParquetWriter:
    """Apache Parquet; blank keys and absent values are null."""

    media_type = "application/vnd.apache.parquet"

    def __init__(self, *, with_locations: bool = False) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._with_locations = with_locations
        self._columns = list_columns(with_locations=with_locations)
        kinds = {field.name: _KINDS.get(field.kind, "string") for field in JSON_FIELDS}
        kinds |= {"line": "int64", "lat": "float64", "long": "float64"}
        self._schema = pa.schema([(name, getattr(pa, kinds.get(name, "string"))()) for name in self._columns])
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")

    def begin(self) -> bytes:
        return self._sink.take()

    def write(self, scored: ScoredRows) -> bytes:
        import pyarrow as pa

        values = scored.columns(with_locations=self._with_locations)
        for name in (*KEYS, "error"):
            values[name] = [cell or None for cell in values[name]]
        self._writer.write_batch(pa.record_batch([values[name] for name in self._columns], schema=self._schema))
        return self._sink.take()

    def end(self) -> bytes:
        self._writer.close()
        return self._sink.take()

    def fail(self, line: int, message: str) -> bytes:
        # Without its footer the file cannot be mistaken for a whole one.
        return b""


class _Sink(io.RawIOBase):
    """A file that is only written; returns what was written since the last time."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(self._pieces[-1])

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


WRITERS: Final[dict[str, type[AnswerWriter]]] = {
    "text/csv": CsvWriter,
    "application/x-ndjson": JsonLinesWriter,
    "application/vnd.apache.parquet": ParquetWriter,
}
"""Media type → writer; the first is the default."""


def write_answer(scored: Iterator[ScoredRows], writer: AnswerWriter, file: IO[bytes]) -> int:
    """Write all rows to a file; returns their number, lines without a prediction included."""
    count = 0
    file.write(writer.begin())
    for some in scored:
        file.write(writer.write(some))
        count += len(some.rows) + len(some.rows.errors)
    file.write(writer.end())
    return count
