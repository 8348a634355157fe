"""Blocks of raw rows from CSV bytes that arrive in pieces: text columns with line numbers, and lines that are no rows.

Encodings, separators, quotes and line ends as in ingestion (`data.reading`), for a part of a file at a time. Values are
read in `rows`.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.data import schema
from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS
from accident_reco.models.accidents.scoring.files.limits import MAX_LINE, UnscorableFile

BLOCK_LINES: Final = 8192
_BLOCK_BYTES: Final = 4 * 1024**2
_HEAD_BYTES: Final = 4
KEYS: Final = ("Num_Acc", "id_usager", "id_vehicule", "num_veh")
"""Columns that identify a row; they are returned in the answer."""
INPUTS: Final = frozenset({*(n for names in schema.COLUMNS.values() for n in names), *CONTEXT_COLUMNS} - {"grav"})
_READ: Final = INPUTS | {"secu", "gps"}
_UNENCODED: Final = frozenset({"Num_Acc", "id_usager", "id_vehicule", "lat", "long", "adr"})


@dataclass
class RawBlock:
    """Rows of a file in their order.

    Args:
        line: physical line of each row, shape (n,).
        columns: official name → text, shape (n,); pyarrow, dictionary-encoded where values repeat.
        errors: line that is no row → reason.
        notes: line → remark.
    """

    line: NDArray[np.int64]
    columns: Mapping[str, Any]
    errors: dict[int, str] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)


def to_input_name(header: str) -> str | None:
    """The official name of a header cell that is read; None for others."""
    name = header.strip().strip("\ufeff").strip('"').strip()
    if name not in CONTEXT_COLUMNS:
        name = schema.to_official_name(name) or ""
    return name if name in _READ else None


def check_header(names: list[str | None]) -> None:
    """Raises UnscorableFile where a header has no BAAC column, or one of them twice."""
    known = [name for name in names if name is not None]
    if not any(name in INPUTS for name in known):
        raise UnscorableFile("The first line must name BAAC columns, such as catu;sexe;an_nais.", "no-header")
    repeated = sorted({name for name in known if known.count(name) > 1})
    if repeated:
        raise UnscorableFile(f"Columns are named twice: {', '.join(repeated)}.", "bad-header")


class LineBlocks:
    """Joins pieces of a file to blocks of whole lines, UTF-8 or Windows-1252 with LF ends; holds one block."""

    def __init__(self) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None
        self._parts: list[bytes] = []
        self._lines = self._bytes = 0
        self._rest = b""
        self._head = b""
        self._is_begun = False

    def feed(self, data: bytes, last: bool = False) -> Iterator[bytes]:
        """The blocks that are complete after `data`.

        Raises:
            UnscorableFile: a line is longer than `MAX_LINE` bytes.
        """
        data = self._rest + self._to_text(data, last)
        if data.endswith(b"\r") and not last:
            data, held = data[:-1], b"\r"
        else:
            held = b""
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        if len(self._rest) > MAX_LINE:
            raise UnscorableFile(f"A line may have at most {MAX_LINE} bytes.", "line-too-long")
        complete = data[:end]
        if last and self._rest:
            complete, self._rest = complete + self._rest + b"\n", b""
        self._rest += held
        if complete:
            self._parts.append(complete)
            self._lines += complete.count(b"\n")
            self._bytes += len(complete)
        if self._parts and (last or self._lines >= BLOCK_LINES or self._bytes >= _BLOCK_BYTES):
            block = b"".join(self._parts)
            self._parts, self._lines, self._bytes = [], 0, 0
            yield block

    def take_complete(self) -> bytes:
        """The complete lines that no block has returned yet."""
        block = b"".join(self._parts)
        self._parts, self._lines, self._bytes = [], 0, 0
        return block

    def _to_text(self, data: bytes, last: bool) -> bytes:
        if not self._is_begun:
            # The encoding shows in the first bytes.
            self._head += data
            if len(self._head) < _HEAD_BYTES and not last:
                return b""
            self._is_begun = True
            data, self._head = self._head, b""
            zeros = data[:200].count(0)
            if data.startswith((b"\xff\xfe", b"\xfe\xff")):
                self._decoder = codecs.getincrementaldecoder("utf-16")(errors="replace")
            elif len(data) > 3 and zeros >= max(1, len(data[:200]) // 3) and (data[0] == 0) != (data[1] == 0):
                self._decoder = codecs.getincrementaldecoder("utf-16-le" if data[1] == 0 else "utf-16-be")("replace")
            elif data.startswith(codecs.BOM_UTF8):
                data = data[len(codecs.BOM_UTF8) :]
        return data if self._decoder is None else self._decoder.decode(data, last).encode("utf-8", "replace")


class CsvBlocks:
    """Raw blocks of a CSV that arrives in pieces.

    Header: official column names in any order and case, separator `;`, `,` or tab. Other columns are ignored.
    """

    def __init__(self) -> None:
        self._lines = LineBlocks()
        self._separator = ";"
        self._width = 0
        self._names: list[str | None] = []
        self._next_line = 1

    @property
    def has_header(self) -> bool:
        """Whether the first line has been read."""
        return self._width > 0

    @property
    def names(self) -> frozenset[str]:
        """Columns that are read."""
        return frozenset(name for name in self._names if name is not None)

    def feed(self, data: bytes, last: bool = False) -> Iterator[RawBlock]:
        """The blocks that are complete after `data`.

        Raises:
            UnscorableFile: there is no valid header, or a line is too long.
        """
        for text in self._lines.feed(data, last):
            yield from self._parse(text)
        if not self.has_header:
            # The header alone is awaited: its errors are reported before the answer begins.
            text = self._lines.take_complete()
            if text:
                yield from self._parse(text)
            elif last:
                raise UnscorableFile("There is no header line.", "no-header")

    def _parse(self, text: bytes) -> Iterator[RawBlock]:
        from accident_reco.models.accidents.data.reading import decode

        text, _ = decode(text)
        if not self.has_header:
            head, _, text = text.partition(b"\n")
            self._read_header(head.decode("utf-8", "replace"))
            self._next_line = 2
        if text:
            yield self._parse_lines(text)

    def _read_header(self, line: str) -> None:
        self._separator = max(";,\t", key=line.count)
        try:
            cells = next(csv.reader([line], delimiter=self._separator, strict=True), [])
        except csv.Error:
            raise UnscorableFile("The first line cannot be read: quotes do not match.", "bad-header") from None
        self._names = [to_input_name(cell) for cell in cells]
        check_header(self._names)
        self._width = len(cells)

    def _parse_lines(self, text: bytes) -> RawBlock:
        import pyarrow as pa

        buffer = np.frombuffer(text, dtype=np.uint8)
        ends = np.flatnonzero(buffer == 10)
        starts = np.concatenate([[0], ends[:-1] + 1])
        number = self._next_line + np.arange(len(ends), dtype=np.int64)
        self._next_line += len(ends)
        lines = _Lines(text, starts, ends, number)
        lines.keep &= ends > starts
        for row in np.flatnonzero(lines.keep & (ends - starts > MAX_LINE)):
            lines.refuse(int(row), f"the line has more than {MAX_LINE} bytes")
        if b"\0" in text:
            for row in np.flatnonzero(np.add.reduceat(buffer == 0, starts).astype(bool) & lines.keep):
                lines.refuse(int(row), "the line holds a NUL byte")
        if b'"' in text:
            # uint8 keeps the parity when it wraps around.
            quotes = np.add.reduceat((buffer == 34).view(np.uint8), starts, dtype=np.uint8)
            for row in np.flatnonzero((quotes & 1).astype(bool) & lines.keep):
                lines.drop_quotes(int(row), self._separator, self._width)
        try:
            columns = self._read(lines.join())
        except pa.ArrowInvalid:
            lines.refuse_ragged(self._separator, self._width)
            columns = self._read(lines.join())
        return RawBlock(number[lines.keep], columns, lines.errors, lines.notes)

    def _read(self, body: bytes) -> dict[str, Any]:
        import pyarrow as pa
        import pyarrow.csv as pacsv

        coded = pa.dictionary(pa.int32(), pa.string())
        at = {str(n): name for n, name in enumerate(self._names) if name is not None}
        types = {position: pa.string() if name in _UNENCODED else coded for position, name in at.items()}
        if not body:
            return {name: pa.array([], types[position]) for position, name in at.items()}
        table = pacsv.read_csv(
            io.BytesIO(body),
            read_options=pacsv.ReadOptions(
                column_names=[str(n) for n in range(self._width)], block_size=len(body) + 1, use_threads=False
            ),
            parse_options=pacsv.ParseOptions(delimiter=self._separator, ignore_empty_lines=False),
            convert_options=pacsv.ConvertOptions(
                column_types=types, include_columns=list(at), strings_can_be_null=False
            ),
        ).combine_chunks()
        return {
            name: column.chunk(0) if (column := table.column(position)).num_chunks else pa.array([], types[position])
            for position, name in at.items()
        }


@dataclass
class _Lines:
    """Physical lines of a block: which are rows, which are replaced by a repaired text."""

    text: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    number: NDArray[np.int64]
    keep: NDArray[np.bool_] = field(init=False)
    errors: dict[int, str] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    _replaced: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keep = np.ones(len(self.ends), dtype=bool)

    def get(self, row: int) -> bytes:
        return self._replaced.get(row, self.text[self.starts[row] : self.ends[row]])

    def refuse(self, row: int, reason: str) -> None:
        self.keep[row] = False
        self.errors[int(self.number[row])] = reason

    def drop_quotes(self, row: int, separator: str, width: int) -> None:
        """Read a line with an odd number of quotes without any, where its fields are then those of the header."""
        plain = self.get(row).replace(b'"', b"")
        if plain.count(separator.encode()) != width - 1:
            self.refuse(row, "the line cannot be read: quotes do not match")
            return
        self._replaced[row] = plain
        self.notes[int(self.number[row])] = "the line has a quote too many; quotes dropped"

    def refuse_ragged(self, separator: str, width: int) -> None:
        for row in np.flatnonzero(self.keep).tolist():
            line = self.get(row)
            if b'"' in line:
                found = len(next(csv.reader([line.decode("utf-8", "replace")], delimiter=separator), []))
            else:
                found = line.count(separator.encode()) + 1
            if found != width:
                self.refuse(row, f"the line has {found} fields, the header {width}")

    def join(self) -> bytes:
        """The accepted lines, from stretches that are as long as possible."""
        breaks = sorted({*np.flatnonzero(~self.keep).tolist(), *self._replaced})
        parts, begin = [], 0
        for row in breaks:
            if row > begin:
                parts.append(self.text[self.starts[begin] : self.ends[row - 1] + 1])
            if self.keep[row]:
                parts.append(self._replaced[row] + b"\n")
            begin = row + 1
        if begin < len(self.ends):
            parts.append(self.text[self.starts[begin] :])
        return b"".join(parts)
