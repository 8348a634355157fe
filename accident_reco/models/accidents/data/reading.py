"""From the bytes of a published CSV to raw text columns with line numbers: encodings, separators, damaged lines.

Every physical line is one row (BAAC values contain no line breaks), so line numbers are exact. Values are parsed in
`values`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from accident_reco.models.accidents.data.quarantine import Quarantine
from accident_reco.models.accidents.data.schema import COLUMNS, OLD_ONLY, OPTIONAL, to_official_name

# Columns with nearly as many distinct values as rows, which are not dictionary-encoded.
_UNENCODED = frozenset({"Num_Acc", "id_usager", "id_vehicule", "lat", "long", "adr"})

MIXED = "UTF-8 with bytes of Windows-1252"


class UnreadableFile(ValueError):
    """A file is not a file of its table; the message states what was found and what was expected."""


@dataclass
class RawTable:
    """Columns of one file as text, one entry per accepted line. `layout` states encoding and separator."""

    table: str
    file: str
    columns: dict[str, pa.Array]
    line: NDArray[np.int32]
    rows_in: int
    text: bytes
    starts: NDArray[np.int64]
    layout: str = ""

    def raw(self, lines: Sequence[int] | NDArray[np.integer]) -> list[str]:
        """The text of physical lines (1-based)."""
        return [self.text[self.starts[n - 1] : self.starts[n] - 1].decode("utf-8") for n in lines]


def detect_encoding(data: bytes) -> str:
    """`UTF-8`, `UTF-8 with BOM`, `UTF-16`, `Windows-1252`, or `UTF-8 with bytes of Windows-1252`."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    if len(data) > 3 and (data[1] == 0 or data[0] == 0) and data[:200].count(0) >= len(data[:200]) // 3:
        return "UTF-16"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", errors="surrogateescape")
        invalid = sum("\udc80" <= letter <= "\udcff" for letter in text)
        valid = sum(letter > "\x7f" for letter in text) - invalid
        return MIXED if valid > invalid else "Windows-1252"
    return "UTF-8 with BOM" if data.startswith(b"\xef\xbb\xbf") else "UTF-8"


def decode(data: bytes, encoding: str | None = None) -> tuple[bytes, list[int]]:
    """UTF-8 text with LF line ends, and the numbers of lines with bytes that were not UTF-8 and read as Windows-1252.

    Accepts UTF-8 and UTF-16 with or without BOM, Windows-1252 / Latin-1, LF, CRLF and CR.

    Args:
        encoding: what `detect_encoding` returns for the data, where that is known already.
    """
    bad_lines: list[int] = []
    encoding = encoding or detect_encoding(data)
    if encoding == "UTF-16":
        known = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        data = data.decode("utf-16" if known else "utf-16-le" if data[1] == 0 else "utf-16-be", "replace").encode()
    elif data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if encoding == MIXED:
        text = data.decode("utf-8", errors="surrogateescape")
        bad_lines = [n for n, row in enumerate(text.split("\n"), 1) if any("\udc80" <= c <= "\udcff" for c in row)]
        text = "".join(_decode_cp1252(letter) if "\udc80" <= letter <= "\udcff" else letter for letter in text)
        data = text.encode()
    elif encoding == "Windows-1252":
        data = data.decode("cp1252", errors="replace").encode()
    return data, bad_lines


def repair_double_encoding(text: bytes) -> tuple[bytes, list[int]]:
    """Undo UTF-8 that was read as Windows-1252 and saved again (`Ã‰` for `É`); also the numbers of repaired lines.

    Only lines that are valid UTF-8 once more are changed: in `PÂTURE` the letter is what it seems to be.
    """
    if not any(mark in text for mark in (b"\xc3\x83", b"\xc3\x82")):
        return text, []
    parts, starts, done = [], [], 0
    for mark in re.finditer(rb"\xc3[\x82\x83]", text):
        if mark.start() < done:
            continue
        start, end = text.rfind(b"\n", 0, mark.start()) + 1, text.find(b"\n", mark.start())
        line = text[start : end if end >= 0 else len(text)]
        try:
            once = b"".join(_encode_cp1252(letter) for letter in line.decode("utf-8"))
            once.decode("utf-8")
        except UnicodeError:
            once = line
        parts += [text[done:start], once]
        done = start + len(line)
        if once != line:
            starts.append(start)
    ends = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == 10) if starts else np.empty(0, np.int64)
    return b"".join([*parts, text[done:]]), [int(np.searchsorted(ends, start)) + 1 for start in starts]


def _encode_cp1252(letter: str) -> bytes:
    # Five bytes have no letter in Windows-1252 and are kept as control characters.
    return letter.encode("latin-1") if "\x80" <= letter <= "\x9f" else letter.encode("cp1252")


def _decode_cp1252(surrogate: str) -> str:
    return bytes([ord(surrogate) - 0xDC00]).decode("cp1252", errors="replace")


def read_table(data: bytes, table: str, file: str, notes: Quarantine, optional: Set[str] = OPTIONAL) -> RawTable:
    """The rows of a file with as many fields as its header; every other line is added to `notes` as refused.

    Args:
        optional: columns that may be absent.

    Raises:
        UnreadableFile: the file is empty or its header is not that of the table.
    """
    encoding = detect_encoding(data)
    text, recoded = decode(data, encoding)
    text, twice = repair_double_encoding(text)
    if not text.endswith(b"\n"):
        text += b"\n"
    buffer = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(buffer == 10)
    starts = np.concatenate([[0], ends + 1]).astype(np.int64)
    if twice:
        reason = f"is UTF-8 that was read as Windows-1252 and saved again, like {len(twice):,} lines of the file"
        notes.add("double_encoding", table, file, twice[:1], "", [""], reason)
    header, separator, names = _parse_header(text[: ends[0]], table, file, notes, optional)
    if recoded:
        notes.add("bad_encoding", table, file, recoded, "", [""] * len(recoded), "has a byte that is not UTF-8")

    keep = np.diff(starts) > 1
    keep[0] = False
    rows_in = int(keep.sum())
    shown = {"\t": "tabs"}.get(separator, f"'{separator}'")
    layout = f"{encoding}, separated by {shown}"
    raw = RawTable(table, file, {}, np.empty(0, np.int32), rows_in, text, starts, layout)
    if b"\0" in text:
        broken = np.add.reduceat(buffer == 0, starts[:-1]).astype(bool) & keep
        keep &= ~broken
        _refuse(raw, "nul_byte", np.flatnonzero(broken) + 1, "holds a NUL byte", notes)
    replaced: dict[int, bytes] = {}
    if b'"' in text:
        # uint8 keeps the parity when it wraps around, which is several times faster than counting.
        quotes = np.add.reduceat((buffer == 34).view(np.uint8), starts[:-1], dtype=np.uint8)
        odd = (quotes & 1).astype(bool) & keep
        if odd.any():
            replaced = _repair_quotes(raw, np.flatnonzero(odd), separator, len(header), keep, notes)

    body = _join_lines(text, starts, keep, replaced)
    try:
        parsed = _parse(body, separator, header, names)
    except pa.ArrowInvalid:
        _drop_ragged(raw, keep, replaced, separator, len(header), notes)
        parsed = _parse(_join_lines(text, starts, keep, replaced), separator, header, names)
    raw.line = (np.flatnonzero(keep) + 1).astype(np.int32)
    raw.columns = parsed
    return raw


def _parse_header(
    line: bytes, table: str, file: str, notes: Quarantine, optional: Set[str]
) -> tuple[list[str], str, dict[str, str]]:
    """Cells of the header, the separator, and cell → canonical column.

    Raises:
        UnreadableFile: a column is missing or named twice.
    """
    first = line.decode("utf-8", errors="replace")
    separator = max(";,\t", key=first.count)
    header = next(csv.reader([first], delimiter=separator), [])
    known = {*COLUMNS[table], *OLD_ONLY.get(table, ())}
    names: dict[str, str] = {}
    for cell in header:
        name = to_official_name(cell)
        if name is None or name not in known:
            notes.add("unknown_column", table, file, [1], "", [""], f"has a column {cell!r} that no {table} file has")
        elif name in names.values():
            raise UnreadableFile(f"{file} line 1: the header names {name} twice; remove one of the two columns")
        else:
            names[cell] = name
    missing = [name for name in COLUMNS[table] if name not in names.values() and name not in optional]
    if missing:
        raise UnreadableFile(
            f"{file} line 1: this is not a {table} file: no column {', '.join(missing)} "
            f"(found: {', '.join(header)[:300] or 'nothing'}); expected the header as published by ONISR, "
            f"separated by ';' (since 2019) or ',' (until 2018)"
        )
    return header, separator, names


def _repair_quotes(
    raw: RawTable, odd: NDArray[np.intp], separator: str, width: int, keep: NDArray[np.bool_], notes: Quarantine
) -> dict[int, bytes]:
    """Remove the quotes of rows with an odd number of them; refuse rows with a wrong number of fields after that.

    Returns row → repaired line.
    """
    repaired: dict[int, bytes] = {}
    for index in odd:
        plain = raw.text[raw.starts[index] : raw.starts[index + 1]].replace(b'"', b"")
        if plain.count(separator.encode()) == width - 1:
            repaired[int(index)] = plain
    refused = np.array([index for index in odd if int(index) not in repaired], dtype=np.intp)
    keep[refused] = False
    _refuse(raw, "open_quote", refused + 1, "has a quote that is not closed", notes)
    lines = [index + 1 for index in repaired]
    notes.add(
        "stray_quote", raw.table, raw.file, lines, "", [""] * len(lines), "has a quote too many", None, raw.raw(lines)
    )
    return repaired


def _drop_ragged(
    raw: RawTable, keep: NDArray[np.bool_], replaced: dict[int, bytes], separator: str, width: int, notes: Quarantine
) -> None:
    ragged, found = [], []
    for index in np.flatnonzero(keep):
        line = replaced.get(int(index), raw.text[raw.starts[index] : raw.starts[index + 1]])
        if line.count(separator.encode()) == width - 1 and b'"' not in line:
            continue
        count = len(next(csv.reader([line.decode("utf-8").rstrip("\n")], delimiter=separator), []))
        if count != width:
            ragged.append(int(index))
            found.append(count)
    keep[ragged] = False
    reasons = [f"has {count} fields where the header has {width}" for count in found]
    _refuse(raw, "ragged_row", np.array(ragged, dtype=np.intp) + 1, reasons, notes)


def _refuse(raw: RawTable, rule: str, lines: NDArray[np.intp], why: str | list[str], notes: Quarantine) -> None:
    rows = lines.tolist()
    notes.add(rule, raw.table, raw.file, rows, "", [""] * len(rows), why, None, raw.raw(rows))


def _join_lines(text: bytes, starts: NDArray[np.int64], keep: NDArray[np.bool_], replaced: dict[int, bytes]) -> bytes:
    """The accepted lines, joined from stretches that are as long as possible."""
    unchanged = keep.copy()
    unchanged[list(replaced)] = False
    edges = np.flatnonzero(np.diff(unchanged.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    parts = {int(begin): text[starts[begin] : starts[end]] for begin, end in edges}
    parts.update({index: line for index, line in replaced.items() if keep[index]})
    return b"".join(parts[index] for index in sorted(parts))


def _parse(body: bytes, separator: str, header: list[str], names: dict[str, str]) -> dict[str, pa.Array]:
    positions = [f"{n}" for n in range(len(header))]
    at = {positions[n]: names[cell] for n, cell in enumerate(header) if cell in names}
    coded = pa.dictionary(pa.int32(), pa.string())
    types = {position: pa.string() if name in _UNENCODED else coded for position, name in at.items()}
    if not body:
        return {name: pa.array([], types[position]) for position, name in at.items()}
    table = pacsv.read_csv(
        io.BytesIO(body),
        read_options=pacsv.ReadOptions(column_names=positions, block_size=max(1 << 20, len(body) // 4)),
        parse_options=pacsv.ParseOptions(delimiter=separator, ignore_empty_lines=False),
        convert_options=pacsv.ConvertOptions(column_types=types, include_columns=list(at), strings_can_be_null=False),
    )
    table = table.unify_dictionaries().combine_chunks()
    arrays = {}
    for position, name in at.items():
        column = table.column(position)
        arrays[name] = column.chunk(0) if column.num_chunks else pa.array([], types[position])
    return arrays
