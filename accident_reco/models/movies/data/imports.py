"""Records imports of the published files in the warehouse: their catalogue, quarantine and result.

An import is visible whole or not at all: its ratings are written where nothing reads them (`rating_table`), and replace
those of older imports with its catalogue in one transaction at the end. Killed at any point, an import leaves what was
there before; the next one discards what it left. Ratings that the API received are newer than any file and stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from accident_reco.models.movies.data import rating_table
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.data.tables import (
    movies,
    published_ids,
    rating_loads,
    rating_quarantine,
    ratings,
)
from accident_reco.storage.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

CHUNK_ROWS = 50_000


@dataclass(frozen=True)
class Load:
    """One import as recorded in `rating_loads`; `fresh` is False when the same files were imported before."""

    load_id: int
    rows: int
    quarantined: int
    fresh: bool


def find_finished_load(warehouse: Warehouse, ratings_sha256: str, movies_sha256: str, data_source: str) -> Load | None:
    """The last complete import, if it was of exactly these files and no later one has left rows."""
    with warehouse.connect() as connection:
        last = read_last(connection)
    files = (ratings_sha256, movies_sha256, data_source)
    if last is None or (last.ratings_sha256, last.movies_sha256, last.data_source) != files:
        return None
    if _has_rows_of_later_loads(warehouse, last.load_id):
        return None
    return Load(last.load_id, last.rows, last.quarantined, fresh=False)


def read_last_load(warehouse: Warehouse) -> Load | None:
    """The last complete import: the warehouse holds its files."""
    with warehouse.connect() as connection:
        last = read_last(connection)
    return None if last is None else Load(last.load_id, last.rows, last.quarantined, fresh=False)


def read_last(connection: Connection) -> Row[Any] | None:
    """The row of the last complete import in `rating_loads`."""
    query = select(rating_loads).where(rating_loads.c.finished_at.isnot(None)).order_by(rating_loads.c.load_id.desc())
    return connection.execute(query.limit(1)).first()


def _has_rows_of_later_loads(warehouse: Warehouse, load_id: int) -> bool:
    """Whether an import after `load_id` was killed by code that wrote rows in place, so that they are mixed."""
    with warehouse.connect() as connection:
        later = connection.execute(select(rating_loads.c.load_id).where(rating_loads.c.load_id > load_id).limit(1))
        if later.first() is None:  # the usual case; the rows are many
            return False
        return (
            connection.execute(select(ratings.c.user_id).where(ratings.c.load_id > load_id).limit(1)).first()
            is not None
        )


def start_load(warehouse: Warehouse, ratings_sha256: str, movies_sha256: str, data_source: str) -> int:
    """Number a new import; what an earlier one left unfinished is discarded."""
    row = {
        "data_source": data_source,
        "ratings_sha256": ratings_sha256,
        "movies_sha256": movies_sha256,
        "started_at": datetime.now(UTC),
    }
    with warehouse.begin() as connection:
        rating_table.discard(warehouse, connection)
        return int(connection.execute(insert(rating_loads).values(row).returning(rating_loads.c.load_id)).scalar_one())


def read_published_ids(warehouse: Warehouse, kind: str) -> dict[str, int]:
    """Numbers of ids that are published as text, of users (`user`) or movies (`movie`)."""
    query = select(published_ids.c.published, published_ids.c.id).where(published_ids.c.kind == kind)
    with warehouse.connect() as connection:
        return {str(published): int(number) for published, number in connection.execute(query)}


def write_published_ids(warehouse: Warehouse, kind: str, fresh: Mapping[str, int]) -> None:
    """Add numbers of ids that are published as text."""
    rows = [{"kind": kind, "published": published, "id": number} for published, number in fresh.items()]
    for start in range(0, len(rows), CHUNK_ROWS):
        with warehouse.begin() as connection:
            connection.execute(insert(published_ids), rows[start : start + CHUNK_ROWS])


def write_movies(warehouse: Warehouse, load_id: int, catalogue: pd.DataFrame) -> int:
    """Replace the catalogue (`movie_id`, `title`, `genres`, `year`; -1 is no year) in one transaction."""
    with warehouse.begin() as connection:
        return _replace_movies(warehouse, connection, load_id, catalogue)


def _replace_movies(warehouse: Warehouse, connection: Connection, load_id: int, catalogue: pd.DataFrame) -> int:
    year = catalogue["year"].astype("Int64").where(catalogue["year"] > 0)
    rows = catalogue[["movie_id", "title", "genres"]].assign(year=year, load_id=load_id)
    connection.execute(delete(movies))
    return warehouse.append(connection, movies, rows)


def write_quarantine(warehouse: Warehouse, load_id: int, rejected: pd.DataFrame) -> None:
    """Store rejected rows with their reasons."""
    if len(rejected):
        with warehouse.begin() as connection:
            warehouse.append(connection, rating_quarantine, rejected.assign(load_id=load_id))


def summarize_quarantine(warehouse: Warehouse, load_id: int, examples: int) -> tuple[dict[str, int], list[str]]:
    """Stored quarantine of an import: number of rows by rule, and the first reasons."""
    mine = rating_quarantine.c.load_id == load_id
    counts = select(rating_quarantine.c.rule, func.count()).where(mine).group_by(rating_quarantine.c.rule)
    first = select(rating_quarantine.c.reason).where(mine).order_by(rating_quarantine.c.id).limit(examples)
    with warehouse.connect() as connection:
        by_rule = {str(rule): int(count) for rule, count in connection.execute(counts)}
        return by_rule, list(connection.execute(first).scalars())


def finish_load(
    warehouse: Warehouse,
    load_id: int,
    catalogue: pd.DataFrame,
    parts: Iterable[Ratings],
    *,
    rows: int,
    quarantined: int,
) -> Load:
    """Replace ratings and catalogue by those of the import and mark it as complete, in one transaction.

    Args:
        parts: the ratings that `rating_table.prepare` was given.

    Raises:
        ImportInterrupted: another import was started meanwhile; nothing was replaced.
    """
    with warehouse.begin() as connection:
        rating_table.replace(warehouse, connection, load_id, rows, parts)
        _replace_movies(warehouse, connection, load_id, catalogue)
        connection.execute(delete(rating_quarantine).where(rating_quarantine.c.load_id < load_id))
        done = {"rows": rows, "quarantined": quarantined, "finished_at": datetime.now(UTC)}
        connection.execute(update(rating_loads).where(rating_loads.c.load_id == load_id).values(done))
    return Load(load_id, rows, quarantined, fresh=True)
