"""Reads movie files (titles and genres), as strictly as ratings: what cannot be read right is refused with its line.

| set | movies |
|---|---|
| ml-latest, 20M, 25M, 32M | `movies.csv` (also `movie.csv`) with a header |
| ml-1m, ml-10m | `movies.dat`, `::` between |
| ml-100k | `u.item`, `|` between, 19 genre flags |

Text is UTF-8, UTF-16, Windows-1252 or latin-1, line by line. A movie that is skipped loses all its ratings, so that a
line that cannot be read is an error, never quarantine.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from accident_reco.models.movies.data.bounds import MAX_ID
from accident_reco.models.movies.data.columns import MOVIE_NAMES, detect_header
from accident_reco.models.movies.data.formats import UnknownFormat
from accident_reco.models.movies.data.published_ids import PublishedIds
from accident_reco.models.movies.data.ratings import Catalogue

# Order of the flags in u.item, from the set's u.genre.
FLAGS: Final = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
# The older sets spell one genre differently, and there are several words for none.
_SPELLINGS: Final = {
    "Children's": "Children",
    **dict.fromkeys(("unknown", "(no genres listed)", "nan", "NaN", "NA", "None", "none", "null", "NULL", "[]"), ""),
}
# UTF-8 that was read as Windows-1252 and saved again: two letters where one was.
_MOJIBAKE: Final = re.compile("[\u00c2-\u00f4][\u0080-\u00bf\u0152-\u0192\u02c6-\u02dc\u2013-\u2122]")
_WHOLE: Final = re.compile(r"(\d+)(?:\.0*)?")
MAX_DIGITS: Final = 32
MAX_TEXT_IDS: Final = 0.2
"""Share of ids that are no numbers from which all ids of a file are text."""

_Movie = tuple[int, str, str, list[str]]
"""Line number, id, title and genres as the file has them."""


def read_movies(content: bytes, file: str, ids: PublishedIds | None = None) -> Catalogue:
    """Read a movie file into a catalogue.

    Args:
        ids: numbers of ids that are published as text; without, such a file is refused.

    Raises:
        UnknownFormat: the file is in none of the formats, or a line, id or genre cannot be read; the line is named.
    """
    text = decode_lines(content)
    first = text.split("\n", 1)[0].rstrip("\r")
    rows: Iterator[_Movie]
    header = detect_header(first, MOVIE_NAMES)
    if header is not None:
        rows = _parse_csv_movies(text, file, *header)
    elif len(first.split("::")) == 3:
        rows = ((at, parts[0], parts[1], parts[2].split("|")) for at, parts in _split_lines(text, "::", 3, file))
    elif len(first.split("|")) == 5 + len(FLAGS):
        rows = (
            (at, parts[0], parts[1], _read_flags(parts[5:]))
            for at, parts in _split_lines(text, "|", 5 + len(FLAGS), file)
        )
    else:
        raise UnknownFormat(
            f"{file}: first line {first[:80]!r} is neither the header movieId,title,genres nor a row of movies.dat "
            "(id::title::genres) or u.item (id|title|…|19 flags); use one of these"
        )
    return _build_catalogue(list(rows), file, ids)


def decode_lines(content: bytes) -> str:
    """Text from UTF-8, UTF-16, or, line by line, Windows-1252 and latin-1."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace").removeprefix("\ufeff")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "\n".join(_decode_line(line) for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"))


def _decode_line(line: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return line.decode("latin-1")


def _parse_csv_movies(
    text: str, file: str, separator: str, cells: list[str], columns: Mapping[str, int]
) -> Iterator[_Movie]:
    missing = [name for name in MOVIE_NAMES if name not in columns]
    if missing:
        raise UnknownFormat(
            f"{file} line 1: no column {', '.join(missing)} (found: {', '.join(cells)[:200]}); expected is the header "
            "movieId,title,genres"
        )
    # Strict: text behind a closing quote (a title with quotes that are not doubled) would be taken for its end.
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    next(rows)
    line = 1
    try:
        for parts in rows:
            line = rows.line_num
            if parts and parts != [""]:
                _check_columns(parts, len(cells), file, rows.line_num)
                movie_id, title, genres = (parts[columns[name]] for name in ("movieId", "title", "genres"))
                yield rows.line_num, movie_id, title, parse_genres(genres, file, rows.line_num)
    except csv.Error as error:
        if rows.line_num > line + 1:
            shown = text.split("\n")[line][:80]
            raise UnknownFormat(f"{file}: a quote is not closed before line {rows.line_num}: {shown!r}") from error
        raise UnknownFormat(
            f"{file} line {rows.line_num}: {error}; quotes inside of a title are doubled, and a title with "
            f"{separator!r} is in quotes"
        ) from error


def _split_lines(text: str, separator: str, columns: int, file: str) -> Iterator[tuple[int, list[str]]]:
    # Not `splitlines`, which splits at some letters when the encoding was guessed wrong.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _check_columns(line.rstrip("\r").split(separator), columns, file, number)


def _check_columns(parts: list[str], columns: int, file: str, line: int) -> list[str]:
    if len(parts) != columns:
        shown = " ".join(parts)[:80]
        raise UnknownFormat(f"{file} line {line}: {len(parts)} columns where {columns} are expected: {shown!r}")
    if any("\n" in part for part in parts):
        raise UnknownFormat(f"{file}: a quote is not closed before line {line}: {parts[1][:80]!r}")
    return parts


def _read_flags(flags: list[str]) -> list[str]:
    return [genre for genre, flag in zip(FLAGS, flags, strict=True) if flag.strip() == "1"]


def parse_genres(text: str, file: str = "", line: int = 0) -> list[str]:
    """Names of genres: separated by `|`, or where there is none by `,`, `;` or `/`; or a list of Python or JSON.

    Raises:
        UnknownFormat: a list that cannot be read.
    """
    cell = text.strip()
    if cell.startswith(("[", "{")):
        return _parse_list(cell, file, line)
    separator = next((mark for mark in ("|", ";", ",", "/") if mark in cell), "|")
    return [name.strip() for name in cell.split(separator)]


def _parse_list(cell: str, file: str, line: int) -> list[str]:
    """`['Action', 'Drama']`, `["Action"]`, and lists of objects with a name, as movie databases export them."""
    found: Any = None
    try:
        found = json.loads(cell)
    except ValueError:
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            found = ast.literal_eval(cell)
    items = list(found) if isinstance(found, list | set | tuple) else [found]
    names = [item.get("name") if isinstance(item, dict) else item for item in items]
    if not all(isinstance(name, str) for name in names):
        raise UnknownFormat(
            f"{file} line {line}: genres = {cell[:80]} is not a list of names; expected is Action|Drama"
        )
    return [str(name).strip() for name in names]


def _build_catalogue(rows: list[_Movie], file: str, ids: PublishedIds | None) -> Catalogue:
    odd = [row for row in rows if _read_id(row[1]) is None]
    as_text = ids is not None and len(odd) > MAX_TEXT_IDS * len(rows)
    movies: dict[int, tuple[int, str, str]] = {}
    seen: dict[int, int] = {}
    notes: list[str] = []
    repaired = 0
    for line, movie_id, published, names in rows:
        number = ids.assign(movie_id) if ids is not None and as_text else _read_id(movie_id)
        if number is None or number < 1:
            raise UnknownFormat(f"{file} line {line}: movie id {movie_id!r} is not a number from 1 to {MAX_ID}")
        title, changed = _repair_mojibake(published.strip())
        repaired += changed
        genres = "|".join(dict.fromkeys(name for name in (_SPELLINGS.get(n, n) for n in names) if name))
        movie = (number, title, genres)
        if number in movies and movies[number] != movie:
            raise UnknownFormat(
                f"{file} line {line}: movie id {movie_id} is {title!r} ({genres}), but on line {seen[number]} it is "
                f"{movies[number][1]!r} ({movies[number][2]}); an id is one movie. Fix: remove one of the two lines"
            )
        if number in movies:
            notes.append(f"{file} line {line}: movie id {movie_id} is there already, with the same title and genres")
        movies[number] = movie
        seen.setdefault(number, line)
    if repaired:
        notes.append(f"{file}: {repaired:,} titles were UTF-8 read as Windows-1252 (such as 'Ã©') and are repaired")
    if as_text:
        notes.append(f"{file}: movies are published under text ids and numbered in the table published_ids")
    catalogue = Catalogue.from_rows(list(movies.values()))
    return replace(catalogue, notes=tuple(notes), numbered=as_text)


def _read_id(text: str) -> int | None:
    # By length first: `int` refuses text of thousands of digits.
    found = _WHOLE.fullmatch(text.strip()) if len(text) <= MAX_DIGITS else None
    number = int(found[1]) if found and found[1].isascii() else 0
    return number if 1 <= number <= MAX_ID else None


def _repair_mojibake(title: str) -> tuple[str, bool]:
    if not _MOJIBAKE.search(title):
        return title, False
    try:
        return title.encode("cp1252").decode("utf-8"), True
    except UnicodeError:
        return title, False
