"""Reads rating files in blocks of columns, recognised by header and shape. Movie files are in `catalogues`.

| set | ratings |
|---|---|
| ml-latest, 20M, 25M, 32M | `ratings.csv` (also `rating.csv`) with a header, half stars |
| ml-10m | `ratings.dat`, `::` between, half stars |
| ml-1m | `ratings.dat`, whole stars |
| ml-100k | `u.data`, tabs, whole stars |
| others | four columns user, movie, rating, time with commas; times as ISO dates; ids as text |
"""

import codecs
import io
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from accident_reco.models.movies.data.bounds import MAX_ID, MIN_RATED_AT
from accident_reco.models.movies.data.columns import RATING_NAMES, detect_header
from accident_reco.models.movies.data.published_ids import PublishedIds
from accident_reco.models.movies.data.quarantine import RawChunk, build_malformed
from accident_reco.models.movies.data.ratings import RatingScale
from accident_reco.models.movies.data.times import parse_integers, parse_times

BLOCK_BYTES = 8 << 20
MAX_ODD_IDS = 0.2
"""Share of ids that are no numbers from which the ids of a column are text."""
MIN_IDS = 20


class UnknownFormat(ValueError):
    """A file is in none of the formats read here; the message names the file and the line."""


@dataclass(frozen=True)
class RatingFormat:
    """Layout of a rating file.

    Args:
        name: a published file of this layout.
        columns: the columns of a file without header, in order.
        cells: the cells of the header, in order; () for a file without.
    """

    name: str
    separator: str
    scale: RatingScale
    columns: Mapping[str, int]
    cells: tuple[str, ...] = ()

    @property
    def header(self) -> bool:
        """Whether the first line names the columns."""
        return bool(self.cells)


HALF_STARS = RatingScale(0.5, 5.0, 0.5)
WHOLE_STARS = RatingScale(1.0, 5.0, 1.0)
MIN_HALF_STARS = 0.01
"""Share of half stars from which a file without header is of a set with half stars (ml-10m has about a third)."""
_ORDER = {"userId": 0, "movieId": 1, "rating": 2, "timestamp": 3}
PUBLISHED = {"user_id": "userId", "movie_id": "movieId", "rating": "rating", "rated_at": "timestamp"}
"""Column of the ratings → its header in the published files that have one."""
_RATING = re.compile(r"\s*\d+([.,]\d+)?\s*")
_TIME = re.compile(r"\s*(\d{4}-\d\d-\d\d.*|\d+(\.0*)?)\s*")


def detect_format(first_line: str, file: str) -> RatingFormat:
    """The format of a rating file, by its first line. Raises UnknownFormat."""
    line = first_line.strip("\r\n").lstrip("\ufeff")
    header = detect_header(line, RATING_NAMES)
    if header is not None:
        separator, cells, columns = header
        missing = [name for name in ("userId", "movieId", "rating") if name not in columns]
        if missing:
            raise UnknownFormat(
                f"{file} line 1: no column {', '.join(missing)} (found: {', '.join(cells)[:200]}); expected is the "
                "header userId,movieId,rating,timestamp"
            )
        return RatingFormat("ratings.csv", separator, HALF_STARS, columns, tuple(cells))
    for name, separator in (("ratings.dat", "::"), ("u.data", "\t"), ("ratings.csv without header", ",")):
        parts = [part.strip().strip('"') for part in line.split(separator)]
        if len(parts) in (3, 4) and all(parts) and _RATING.fullmatch(parts[2]) and _TIME.fullmatch((*parts, "0")[3]):
            columns = dict(list(_ORDER.items())[: len(parts)])
            return RatingFormat(name, separator, WHOLE_STARS, columns)
    raise UnknownFormat(
        f"{file}: first line {line[:80]!r} is neither the header userId,movieId,rating,timestamp nor user, movie, "
        "rating and time separated by '::', tabs or commas; use a MovieLens ratings.csv, ratings.dat or u.data"
    )


@dataclass
class RatingReader:
    """Iterates over a rating file as `RawChunk`s; lines with a wrong number of columns are collected in `malformed`."""

    stream: IO[bytes]
    file: str
    block_bytes: int = BLOCK_BYTES
    malformed: list[pd.DataFrame] = field(default_factory=list)
    users: PublishedIds = field(default_factory=PublishedIds)
    movies: PublishedIds | None = None

    def __post_init__(self) -> None:
        self._first = self.stream.readline().removeprefix(codecs.BOM_UTF8)
        self.format = detect_format(self._first.decode("utf-8", "replace"), self.file)
        self._maps_users: bool | None = None
        if not self.format.header and self._has_half_stars():
            self.format = replace(self.format, scale=HALF_STARS)

    @property
    def scale(self) -> RatingScale:
        """The rating scale: that of the format, with half stars where the file has some."""
        return self.format.scale

    @property
    def notes(self) -> list[str]:
        """What is not as in the published sets."""
        notes = []
        if "timestamp" not in self.format.columns:
            notes.append(f"{self.file} has no column timestamp: every rating is dated 1992-01-01")
        if self._maps_users:
            notes.append(f"{self.file}: users are published as text and numbered in the table published_ids")
        return notes

    def _has_half_stars(self) -> bool:
        """Whether enough ratings of a file without header are halves; the stream is where it was before."""
        start, halves, rows, rest = self.stream.tell(), 0, 0, self._first
        pattern = re.compile(re.escape(self.format.separator).encode() + rb"[0-4]\.50*[^0-9]")
        while block := self.stream.read(self.block_bytes):
            whole, _, rest = (rest + block).rpartition(b"\n")
            halves += len(pattern.findall(whole + b"\n"))
            rows += whole.count(b"\n") + 1
        halves += len(pattern.findall(rest + b"\n"))
        self.stream.seek(start)
        return halves > MIN_HALF_STARS * (rows + 1)

    def __iter__(self) -> Iterator[RawChunk]:
        # The block after the current one is parsed meanwhile: pyarrow leaves the interpreter to other threads.
        with ThreadPoolExecutor(1) as ahead:
            waiting: tuple[bytes, int, Future[pa.Table | None]] | None = None
            for block, line in self._iterate_blocks():
                following = (block, line, ahead.submit(self._read_numbers, block))
                if waiting is not None:
                    yield self._parse(*waiting)
                waiting = following
            if waiting is not None:
                yield self._parse(*waiting)

    def _iterate_blocks(self) -> Iterator[tuple[bytes, int]]:
        """Blocks of whole lines, with the number of the first line of each."""
        line, rest = (2, b"") if self.format.header else (1, self._first)
        while block := self.stream.read(self.block_bytes):
            whole, newline, tail = (rest + block).rpartition(b"\n")
            rest = tail
            if newline:
                yield whole + newline, line
                line += whole.count(b"\n") + 1
        if rest.strip():
            yield rest, line

    def _read_numbers(self, block: bytes) -> pa.Table | None:
        """The columns of a block as numbers; None where one value or line is not as in the published sets.

        What is read here is read the same as text, cell by cell, at several times the cost. `x` is of hexadecimal
        numbers, a quote of cells that are unquoted there.
        """
        if self._maps_users or self.movies is not None or any(byte in block for byte in (b'"', b"x", b"X")):
            return None
        at = self.format.columns
        kinds = {"userId": pa.int32(), "movieId": pa.int32(), "rating": pa.float64(), "timestamp": pa.int64()}
        types = {str(at[name]): kind for name, kind in kinds.items() if name in at}
        # No text is a missing value: an empty cell is no number either.
        numbers = pa_csv.ConvertOptions(column_types=types, include_columns=list(types), null_values=[])
        try:
            return self._read_table(block, numbers)
        except pa.ArrowInvalid:
            return None

    def _read_text(self, block: bytes, skip: Callable[[Any], str] | None = None) -> pa.Table:
        """All columns of a block as text; lines with a wrong number of columns are given to `skip`."""
        kinds = dict.fromkeys(self._names, pa.string())
        return self._read_table(block, pa_csv.ConvertOptions(column_types=kinds, strings_can_be_null=False), skip)

    def _read_table(
        self, block: bytes, convert: pa_csv.ConvertOptions, skip: Callable[[Any], str] | None = None
    ) -> pa.Table:
        separator = self.format.separator
        if len(separator) > 1:
            # The CSV reader accepts one character only; the block holds ids and numbers, never a tab.
            block, separator = block.replace(separator.encode(), b"\t"), "\t"
        return pa_csv.read_csv(
            io.BytesIO(block),
            read_options=pa_csv.ReadOptions(
                column_names=self._names,
                use_threads=False,
                block_size=len(block) + 1,
                # Ids and numbers are ASCII; in anything else every byte is a character to display.
                encoding="utf8" if block.isascii() else "latin-1",
            ),
            # A line is a row whatever it contains: a stray quote must not swallow the lines after it.
            parse_options=pa_csv.ParseOptions(
                delimiter=separator, quote_char=False, invalid_row_handler=skip, ignore_empty_lines=False
            ),
            convert_options=convert,
        ).combine_chunks()

    @property
    def _names(self) -> list[str]:
        """Positions as names: a file may have two columns of one name, or one without."""
        return [str(at) for at in range(len(self.format.cells or self.format.columns))]

    def _parse(self, block: bytes, first_line: int, numbers: Future[pa.Table | None]) -> RawChunk:
        table, at = numbers.result(), self.format.columns
        if table is None or self._decide_mapping(table.column(str(at["userId"])).to_numpy()):
            return self._parse_text(block, first_line)
        column = {name: table.column(str(at[name])).to_numpy() for name in at if str(at[name]) in table.column_names}
        text = cache(lambda: self._select_text(self._read_text(block), block))
        return RawChunk(
            file=self.file,
            line=np.arange(first_line, first_line + table.num_rows, dtype=np.int64),
            text={name: lambda rows, name=name: _take_text(text()[name], rows) for name in PUBLISHED},  # type: ignore[misc]
            user_id=column["userId"],
            movie_id=column["movieId"],
            rating=column["rating"],
            rated_at=column.get("timestamp", np.full(table.num_rows, MIN_RATED_AT, dtype=np.int64)),
        )

    def _select_text(self, table: pa.Table, block: bytes) -> dict[str, Any]:
        """Our column names → text as published, without enclosing quotes."""
        unquote, at = _unquote if b'"' in block else _keep, self.format.columns
        return {
            name: unquote(table.column(at[published])) if published in at else pa.nulls(table.num_rows, pa.string())
            for name, published in PUBLISHED.items()
        }

    def _parse_text(self, block: bytes, first_line: int) -> RawChunk:
        broken: list[tuple[int, str]] = []

        def skip(row: Any) -> str:
            broken.append((row.number, row.text))
            return "skip"

        table = self._read_text(block, skip)
        lines = np.arange(first_line, first_line + table.num_rows + len(broken), dtype=np.int64)
        if broken:
            # The reader numbers rows from one, within the block.
            numbered = [(number + first_line - 1, text) for number, text in broken]
            self.malformed.append(build_malformed(self.file, numbered, len(self._names)))
            lines = np.setdiff1d(lines, [number for number, _ in numbered])
        columns = self._select_text(table, block)
        return RawChunk(
            file=self.file,
            line=lines,
            text={name: partial(_take_text, column) for name, column in columns.items()},
            user_id=self._parse_users(columns["user_id"]),
            movie_id=parse_integers(columns["movie_id"])
            if self.movies is None
            else self.movies.assign_column(columns["movie_id"]),
            rating=_parse_numbers(self._with_points(columns["rating"]), np.nan),
            rated_at=parse_times(columns["rated_at"])
            if "timestamp" in self.format.columns
            else np.full(table.num_rows, MIN_RATED_AT, dtype=np.int64),
        )

    def _with_points(self, column: Any) -> Any:
        """A column of numbers with decimal points, which are commas where commas do not separate."""
        return column if self.format.separator == "," else pc.replace_substring(column, ",", ".")

    def _parse_users(self, column: Any) -> np.ndarray:
        numbers = parse_integers(column)
        return self.users.assign_column(column) if self._decide_mapping(numbers) else numbers

    def _decide_mapping(self, users: np.ndarray) -> bool:
        """Whether ids of users are text that is numbered: where the first block has more than a few that are no ids."""
        if self._maps_users is None:
            odd = (users < 1) | (users > MAX_ID)
            self._maps_users = bool(odd.mean() > MAX_ODD_IDS) if len(odd) > MIN_IDS else bool(odd.all())
        return self._maps_users


def _take_text(column: Any, rows: np.ndarray) -> list[str]:
    # PostgreSQL's text cannot hold a NUL.
    return [(value or "").replace("\0", "\ufffd") for value in column.take(pa.array(rows)).to_pylist()]


def _keep(column: Any) -> Any:
    return column


def _unquote(column: Any) -> Any:
    return pc.replace_substring_regex(column, '^"(.*)"$', r"\1")


def _parse_numbers(column: Any, missing: float) -> np.ndarray:
    """Text to float64. The column as a whole first; value by value only where one is no number."""
    trimmed = pc.utf8_trim_whitespace(column)
    try:
        numbers = pc.cast(trimmed, pa.float64())
    except pa.ArrowInvalid:
        valid = pc.match_substring_regex(trimmed, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$")
        unsigned = pc.replace_substring_regex(trimmed, r"^\+", "")  # a cast takes no sign in front of a positive number
        numbers = pc.cast(pc.if_else(valid, unsigned, pa.scalar(None, pa.string())), pa.float64())
    return np.array(pc.fill_null(numbers, missing), dtype=np.float64)
