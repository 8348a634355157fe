"""Writes imports of the published files: ratings in columns and chunks. Rules and formats are the caller's.

An import never leaves the table half empty: rows are upserted chunk by chunk in short transactions and marked with the
import's number; rows of older imports that are not in this one are removed at the end. Ratings that the API received
are newer than any file and stay.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from accident_reco.models.movies.data.queries import Columns
from accident_reco.models.movies.data.tables import movies, published_ids, rating_loads, rating_quarantine, ratings
from accident_reco.storage.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

CHUNK_ROWS = 50_000
_REMOVE_USERS = 5_000

_UPSERT = """
    INSERT INTO ratings (user_id, movie_id, rating, rated_at, simulated, load_id) {rows}
    ON CONFLICT (user_id, movie_id) DO UPDATE SET rating = excluded.rating, rated_at = excluded.rated_at,
        simulated = excluded.simulated, received_at = NULL, load_id = excluded.load_id
    WHERE ratings.load_id IS NOT NULL OR ratings.simulated
"""


@dataclass(frozen=True)
class Load:
    """One import as recorded in `rating_loads`; `fresh` is False when the same files were imported before."""

    load_id: int
    rows: int
    quarantined: int
    fresh: bool


def find_finished_load(warehouse: Warehouse, ratings_sha256: str, movies_sha256: str, data_source: str) -> Load | None:
    """The last complete import, if it was of exactly these files."""
    last = _read_last(warehouse)
    files = (ratings_sha256, movies_sha256, data_source)
    if last is None or (last.ratings_sha256, last.movies_sha256, last.data_source) != files:
        return None
    return Load(last.load_id, last.rows, last.quarantined, fresh=False)


def read_last_load(warehouse: Warehouse) -> Load | None:
    """The last complete import: the warehouse holds its files."""
    last = _read_last(warehouse)
    return None if last is None else Load(last.load_id, last.rows, last.quarantined, fresh=False)


def _read_last(warehouse: Warehouse) -> Row[Any] | None:
    query = select(rating_loads).where(rating_loads.c.finished_at.isnot(None)).order_by(rating_loads.c.load_id.desc())
    with warehouse.connect() as connection:
        return connection.execute(query.limit(1)).first()


def start_load(warehouse: Warehouse, ratings_sha256: str, movies_sha256: str, data_source: str) -> int:
    """Number a new import."""
    row = {
        "data_source": data_source,
        "ratings_sha256": ratings_sha256,
        "movies_sha256": movies_sha256,
        "started_at": datetime.now(UTC),
    }
    with warehouse.begin() as connection:
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
    year = catalogue["year"].astype("Int64").where(catalogue["year"] > 0)
    rows = catalogue[["movie_id", "title", "genres"]].assign(year=year, load_id=load_id)
    with warehouse.begin() as connection:
        connection.execute(delete(movies))
        return warehouse.append(connection, movies, rows)


def write_ratings(warehouse: Warehouse, load_id: int, columns: Columns) -> None:
    """Upsert ratings of an import, in chunks of one short transaction each. (user, movie) must not repeat in it."""
    for start in range(0, len(columns["user_id"]), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        chunk = [columns[name][rows].tolist() for name in ("user_id", "movie_id", "rating", "rated_at")]
        with warehouse.begin() as connection:
            if warehouse.is_sqlite:
                statement = _UPSERT.format(rows=f"VALUES (?, ?, ?, ?, 0, {int(load_id)})")
                connection.exec_driver_sql(statement, list(zip(*chunk, strict=True)))
            else:
                _upsert_by_copy(connection, load_id, chunk)


def _upsert_by_copy(connection: Connection, load_id: int, chunk: Sequence[list[Any]]) -> None:
    """PostgreSQL's bulk path: COPY into a temporary table, then one upsert."""
    connection.exec_driver_sql(
        "CREATE TEMPORARY TABLE incoming (user_id int, movie_id int, rating float8, rated_at int8) ON COMMIT DROP"
    )
    text = io.StringIO("".join(f"{u}\t{m}\t{r}\t{t}\n" for u, m, r, t in zip(*chunk, strict=True)))
    cursor = connection.connection.cursor()
    cursor.copy_expert("COPY incoming FROM STDIN", text)
    connection.exec_driver_sql(
        _UPSERT.format(
            rows=f"SELECT user_id, movie_id, rating, rated_at, false, {int(load_id)} FROM incoming"  # noqa: S608
        )
    )


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


def finish_load(warehouse: Warehouse, load_id: int, rows: int, quarantined: int) -> Load:
    """Remove rows of older imports that are not in this one, then mark the import as complete."""
    old = ratings.c.load_id < load_id
    with warehouse.connect() as connection:
        bounds = connection.execute(select(func.min(ratings.c.user_id), func.max(ratings.c.user_id)).where(old)).one()
    if bounds[0] is not None:
        for first in range(bounds[0], bounds[1] + 1, _REMOVE_USERS):
            some = ratings.c.user_id.between(first, first + _REMOVE_USERS - 1)
            with warehouse.begin() as connection:
                connection.execute(delete(ratings).where(some, old))
    with warehouse.begin() as connection:
        connection.execute(delete(rating_quarantine).where(rating_quarantine.c.load_id < load_id))
        done = {"rows": rows, "quarantined": quarantined, "finished_at": datetime.now(UTC)}
        connection.execute(update(rating_loads).where(rating_loads.c.load_id == load_id).values(done))
    return Load(load_id, rows, quarantined, fresh=True)
