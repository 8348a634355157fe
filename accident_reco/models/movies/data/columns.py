"""Headers of rating and movie files: which column is which, under the names that people and programs give them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

SEPARATORS: Final = (",", ";", "\t", "|")

RATING_NAMES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "userId": ("userid", "user", "customerid", "custid", "reviewerid", "uid", "cust"),
        "movieId": ("movieid", "movie", "itemid", "item", "productid", "asin", "parentasin", "iid", "filmid"),
        "rating": ("rating", "ratings", "stars", "score", "overall"),
        "timestamp": (
            "timestamp",
            "time",
            "date",
            "datetime",
            "unixreviewtime",
            "ratedat",
            "ratingtimestamp",
            "tstamp",
        ),
    }
)
MOVIE_NAMES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "movieId": ("movieid", "itemid", "productid", "asin", "parentasin", "filmid", "id", "movie"),
        "title": ("title", "movietitle", "name", "moviename", "filmtitle"),
        "genres": ("genres", "genre", "categories", "moviegenres", "moviegenre"),
    }
)


def split_header(line: str, separator: str) -> list[str]:
    """Cells of a header, trimmed and without quotes."""
    return [
        cell.strip().strip('"').strip() for cell in next(csv.reader([line.replace("\0", "")], delimiter=separator), [])
    ]


def find_columns(cells: Sequence[str], names: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Column → position, by the exact name, else by the first of its other names; without those that are not there."""
    folded = ["".join(letter for letter in cell.lower() if letter.isalnum()) for cell in cells]
    found: dict[str, int] = {}
    for name, others in names.items():
        position = next((folded.index(other) for other in others if other in folded), None)
        if name in cells:
            position = list(cells).index(name)
        if position is not None and position not in found.values():
            found[name] = position
    return found


def detect_header(line: str, names: Mapping[str, tuple[str, ...]]) -> tuple[str, list[str], dict[str, int]] | None:
    """Separator, cells and columns of a header that has at least two of the columns; None for a line of values."""
    best: tuple[str, list[str], dict[str, int]] | None = None
    for separator in SEPARATORS:
        cells = split_header(line, separator)
        found = find_columns(cells, names)
        if len(found) >= 2 and (best is None or len(found) > len(best[2])):
            best = (separator, cells, found)
    return best
