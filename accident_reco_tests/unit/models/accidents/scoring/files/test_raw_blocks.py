"""CSV that arrives in pieces: cuts anywhere, encodings, line ends, damaged lines, headers, bounded memory."""

from __future__ import annotations

import codecs
import tracemalloc
from collections.abc import Iterable

import pytest

from accident_reco.models.accidents.scoring.files.limits import MAX_LINE, UnscorableFile
from accident_reco.models.accidents.scoring.files.raw_blocks import CsvBlocks, RawBlock

TEXT = "catu;adr\n1;Allée des Érables\n2;x"


def read(pieces: Iterable[bytes]) -> list[RawBlock]:
    blocks = CsvBlocks()
    found = [block for piece in pieces for block in blocks.feed(piece)]
    return [*found, *blocks.feed(b"", last=True)]


def rows_of(pieces: Iterable[bytes]) -> list[tuple[int, ...]]:
    rows: list[tuple[int, ...]] = []
    for block in read(pieces):
        columns = [column.to_pylist() for column in block.columns.values()]
        rows += zip(block.line.tolist(), *columns, strict=True)
    return rows


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("cp1252"),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode() + b"\r",
        TEXT.replace(";", "\t").encode(),
        TEXT.replace(";", ",").encode(),
    ],
)
def test_files_survive_any_cut(data: bytes) -> None:
    """Pieces may end anywhere, inside a character and between CR and LF too."""
    for size in (1, 2, 3, 7, 1000):
        if size < 4 and data[:2].count(0):
            continue  # UTF-16 without a mark is recognised by its first bytes
        pieces = (data[start : start + size] for start in range(0, len(data), size))
        assert rows_of(pieces) == [(2, "1", "Allée des Érables"), (3, "2", "x")], size


def test_damaged_lines() -> None:
    """Each is reported by its physical line; the others are read."""
    (block,) = read([b'catu;adr\n1;"a;b"\n1\n"2;x\n"2;x;y\n\n\0;1\n3;z\n1;' + b"a" * MAX_LINE + b"\n"])
    assert block.line.tolist() == [2, 4, 8]
    assert block.columns["adr"].to_pylist() == ["a;b", "x", "z"]
    assert block.notes == {4: "the line has a quote too many; quotes dropped"}
    assert block.errors == {
        3: "the line has 1 fields, the header 2",
        5: "the line cannot be read: quotes do not match",
        7: "the line holds a NUL byte",
        9: f"the line has more than {MAX_LINE} bytes",
    }


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "no-header"),
        (b"a;b;c\n1;2;3\n", "no-header"),
        (b"grav;b\n1;2\n", "no-header"),
        (b"catu;CATU\n1;1\n", "bad-header"),
        (b"c" * (MAX_LINE + 1), "line-too-long"),
    ],
)
def test_headers_without_columns(data: bytes, kind: str) -> None:
    """A file whose header names no input, or one twice, is refused as a whole."""
    with pytest.raises(UnscorableFile) as caught:
        read([data])
    assert caught.value.kind == kind


def test_memory_is_that_of_a_block() -> None:
    """A long file in small pieces: what is kept does not grow."""
    blocks = CsvBlocks()
    list(blocks.feed(b"catu;id_usager\n"))
    tracemalloc.start()
    count = 0
    for number in range(60):
        for block in blocks.feed(b"1;%d\n" % number * 1000):
            count += len(block.line)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count > 50_000
    assert peak < 8_000_000
