"""Reads the published MovieLens formats, recognised by header and shape, in blocks of columns.

| set | ratings | movies |
|---|---|---|
| ml-latest, 25M, 32M | `ratings.csv` with a header, half stars | `movies.csv` with a header, UTF-8 |
| ml-1m | `ratings.dat`, `::` between, whole stars | `movies.dat`, latin-1 |
| ml-100k | `u.data`, tabs, whole stars | `u.item`, `|` between, 19 genre flags, latin-1 |
"""

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from accident_reco.models.movies.data.bounds import MAX_ID
from accident_reco.models.movies.data.quarantine import RawChunk, build_malformed
from accident_reco.models.movies.data.ratings import Catalogue, RatingScale

BLOCK_BYTES = 8 << 20
_MAX_DIGITS = 32

# Order of the flags in u.item, from the set's u.genre.
_FLAGS = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
# The older sets spell one genre differently, and two have words for none.
_SPELLINGS = {"Children's": "Children", "unknown": "", "(no genres listed)": ""}


class UnknownFormat(ValueError):
    """A file is in none of the formats read here; the message names the file and the line."""


@dataclass(frozen=True)
class RatingFormat:
    """Layout of one of the published rating files."""

    name: str
    separator: str
    header: bool
    scale: RatingScale


CSV = RatingFormat("ratings.csv", ",", True, RatingScale(0.5, 5.0, 0.5))
DAT = RatingFormat("ratings.dat", "::", False, RatingScale(1.0, 5.0, 1.0))
TABS = RatingFormat("u.data", "\t", False, RatingScale(1.0, 5.0, 1.0))


def detect_format(first_line: str, file: str) -> RatingFormat:
    """The format of a rating file, by its first line. Raises UnknownFormat."""
    line = first_line.strip().lstrip("\ufeff")
    if {"userId", "movieId", "rating"} <= {name.strip().strip('"') for name in line.split(",")}:
        return CSV
    for layout in (DAT, TABS):
        parts = line.split(layout.separator)
        if len(parts) == 4 and all(part.replace(".", "", 1).isdigit() for part in parts):
            return layout
    raise UnknownFormat(
        f"{file}: first line {line[:80]!r} is neither the header userId,movieId,rating,timestamp nor four numbers "
        "separated by '::' or tabs; use a MovieLens ratings.csv, ratings.dat or u.data"
    )


@dataclass
class RatingReader:
    """Iterates over a rating file as `RawChunk`s; lines with a wrong number of columns are collected in `malformed`."""

    stream: IO[bytes]
    file: str
    block_bytes: int = BLOCK_BYTES
    malformed: list[pd.DataFrame] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._first = self.stream.readline().removeprefix(codecs.BOM_UTF8)
        self.format = detect_format(self._first.decode("utf-8", "replace"), self.file)

    @property
    def scale(self) -> RatingScale:
        """The rating scale of the format."""
        return self.format.scale

    def __iter__(self) -> Iterator[RawChunk]:
        names = ["userId", "movieId", "rating", "timestamp"]
        line, rest = 1, self._first
        if self.format.header:
            names = [name.strip().strip('"') for name in self._first.decode("utf-8-sig").strip().split(",")]
            line, rest = 2, b""
        while block := self.stream.read(self.block_bytes):
            whole, newline, tail = (rest + block).rpartition(b"\n")
            rest = tail
            if newline:
                yield self._parse(whole + newline, names, line)
                line += whole.count(b"\n") + 1
        if rest.strip():
            yield self._parse(rest, names, line)

    def _parse(self, block: bytes, names: list[str], first_line: int) -> RawChunk:
        separator = self.format.separator
        if len(separator) > 1:
            # The CSV reader accepts one character only; the block holds ids and numbers, never a tab.
            block, separator = block.replace(separator.encode(), b"\t"), "\t"
        broken: list[tuple[int, str]] = []

        def skip(row: Any) -> str:
            broken.append((row.number, row.text))
            return "skip"

        table = pa_csv.read_csv(
            io.BytesIO(block),
            read_options=pa_csv.ReadOptions(
                column_names=names,
                use_threads=False,
                block_size=len(block) + 1,
                # Ids and numbers are ASCII; in anything else every byte is a character to display.
                encoding="utf8" if block.isascii() else "latin-1",
            ),
            # A line is a row whatever it contains: a stray quote must not swallow the lines after it.
            parse_options=pa_csv.ParseOptions(
                delimiter=separator, quote_char=False, invalid_row_handler=skip, ignore_empty_lines=False
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types={name: pa.string() for name in names}, strings_can_be_null=False
            ),
        ).combine_chunks()
        lines = np.arange(first_line, first_line + table.num_rows + len(broken), dtype=np.int64)
        if broken:
            # The reader numbers rows from one, within the block.
            numbered = [(number + first_line - 1, text) for number, text in broken]
            self.malformed.append(build_malformed(self.file, numbered, len(names)))
            lines = np.setdiff1d(lines, [number for number, _ in numbered])
        unquote = _unquote if b'"' in block else _keep
        columns = {
            name: unquote(table.column(published)) if published in names else pa.nulls(table.num_rows, pa.string())
            for name, published in (
                ("user_id", "userId"),
                ("movie_id", "movieId"),
                ("rating", "rating"),
                ("rated_at", "timestamp"),
            )
        }
        return RawChunk(
            file=self.file,
            line=lines,
            text={name: partial(_read_text, column) for name, column in columns.items()},
            user_id=_parse_integers(columns["user_id"]),
            movie_id=_parse_integers(columns["movie_id"]),
            rating=_parse_numbers(columns["rating"], np.nan),
            rated_at=_parse_integers(columns["rated_at"]),
        )


def _read_text(column: Any, rows: np.ndarray) -> list[str]:
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
        numbers = pc.cast(pc.if_else(valid, trimmed, pa.scalar(None, pa.string())), pa.float64())
    return np.array(pc.fill_null(numbers, missing), dtype=np.float64)


def _parse_integers(column: Any) -> np.ndarray:
    """Text to int64; -1 where it is not a whole number that fits."""
    try:
        return np.array(pc.fill_null(pc.cast(column, pa.int64()), -1), dtype=np.int64)
    except pa.ArrowInvalid:
        numbers = _parse_numbers(column, -1.0)
        whole = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**53)
        return np.where(whole, numbers, -1).astype(np.int64)


def read_movies(content: bytes, file: str) -> Catalogue:
    """Read a movies file (`movies.csv`, `movies.dat` or `u.item`) into a catalogue. Raises UnknownFormat."""
    text = _decode(content)
    first = text.split("\n", 1)[0].strip()
    rows: Iterator[_Movie]
    if [name.strip('"') for name in first.split(",")[:2]] == ["movieId", "title"]:
        rows = _parse_csv_movies(text, file)
    elif len(first.split("::")) == 3:
        rows = ((at, parts[0], parts[1], parts[2].split("|")) for at, parts in _split_lines(text, "::", 3, file))
    elif len(first.split("|")) == 5 + len(_FLAGS):
        rows = (
            (at, parts[0], parts[1], _read_flags(parts[5:]))
            for at, parts in _split_lines(text, "|", 5 + len(_FLAGS), file)
        )
    else:
        raise UnknownFormat(
            f"{file}: first line {first[:80]!r} is neither the header movieId,title,genres nor a row of movies.dat "
            "(id::title::genres) or u.item (id|title|…|19 flags); use one of these"
        )
    return _build_catalogue(rows, file)


_Movie = tuple[int, str, str, list[str]]
"""Line number, id, title and genres as the file has them."""


def _decode(content: bytes) -> str:
    """Text from UTF-8 (newer sets) or latin-1 (older sets)."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _parse_csv_movies(text: str, file: str) -> Iterator[_Movie]:
    rows = csv.reader(io.StringIO(text, newline=""))
    header = next(rows)
    try:
        for parts in rows:
            if parts:
                row = dict(zip(header, _check_columns(parts, len(header), file, rows.line_num), strict=True))
                yield rows.line_num, row["movieId"], row["title"], row.get("genres", "").split("|")
    except csv.Error as error:
        raise UnknownFormat(f"{file} line {rows.line_num}: {error}") from error


def _split_lines(text: str, separator: str, columns: int, file: str) -> Iterator[tuple[int, list[str]]]:
    # Not `splitlines`, which splits at some letters when the encoding was guessed wrong.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _check_columns(line.rstrip("\r").split(separator), columns, file, number)


def _check_columns(parts: list[str], columns: int, file: str, line: int) -> list[str]:
    # An error, not quarantine: a movie that is skipped loses all its ratings.
    if len(parts) != columns:
        shown = " ".join(parts)[:80]
        raise UnknownFormat(f"{file} line {line}: {len(parts)} columns where {columns} are expected: {shown!r}")
    if any("\n" in part for part in parts):
        raise UnknownFormat(f"{file}: a quote is not closed before line {line}: {parts[1][:80]!r}")
    return parts


def _read_flags(flags: list[str]) -> list[str]:
    return [genre for genre, flag in zip(_FLAGS, flags, strict=True) if flag.strip() == "1"]


def _build_catalogue(rows: Iterator[_Movie], file: str) -> Catalogue:
    movies: list[tuple[int, str, str]] = []
    for line, movie_id, title, names in rows:
        # By length first: `int` refuses text of thousands of digits.
        digits = movie_id.strip()
        if not (len(digits) <= _MAX_DIGITS and digits.isascii() and digits.isdigit() and 1 <= int(digits) <= MAX_ID):
            raise UnknownFormat(f"{file} line {line}: movie id {movie_id!r} is not a number from 1 to {MAX_ID}")
        cleaned = (_SPELLINGS.get(name.strip(), name.strip()) for name in names)
        movies.append((int(digits), title.strip(), "|".join(name for name in cleaned if name)))
    return Catalogue.from_rows(movies)
