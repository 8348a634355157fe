"""Replaces the source's ratings in the warehouse by those of an import, all at once; see `imports` for what else it is.

| warehouse | how |
|---|---|
| SQLite | a new table, filled in short transactions, takes the place of the old one |
| PostgreSQL, no ratings yet | COPY in the transaction that completes the import |
| PostgreSQL | COPY into a staging table, and a merge that writes only what differs |

What the API received is newer than any file: it stays, but simulated ratings of pairs that the file has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from sqlalchemy import Connection, MetaData, delete, func, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable

from accident_reco.models.movies.data.ratings import RATING_COLUMNS, Ratings
from accident_reco.models.movies.data.tables import rating_loads, rating_staging, ratings
from accident_reco.storage.warehouse import Warehouse

CHUNK_ROWS: Final = 50_000
NEXT: Final = "ratings_next_"

_MERGE: Final = """
    INSERT INTO ratings (user_id, movie_id, rating, rated_at, simulated, load_id)
    SELECT user_id, movie_id, rating, rated_at, false, load_id FROM rating_staging WHERE load_id = {load_id}
    ON CONFLICT (user_id, movie_id) DO UPDATE SET rating = excluded.rating, rated_at = excluded.rated_at,
        simulated = excluded.simulated, received_at = NULL, load_id = excluded.load_id
    WHERE ratings.simulated OR (ratings.load_id IS NOT NULL
        AND (ratings.rating <> excluded.rating OR ratings.rated_at <> excluded.rated_at))
"""
_REMOVE: Final = """
    DELETE FROM ratings WHERE load_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM rating_staging AS staged
        WHERE staged.load_id = {load_id} AND staged.user_id = ratings.user_id AND staged.movie_id = ratings.movie_id)
"""
_KEEP: Final = """
    INSERT OR {conflict} INTO {table} ({columns}) SELECT {columns} FROM ratings
    WHERE received_at IS NOT NULL AND {simulated}simulated
"""


class ImportInterrupted(RuntimeError):
    """An import cannot be completed, since another one was started meanwhile; nothing was replaced."""

    def __init__(self, load_id: int) -> None:
        super().__init__(
            f"another import was started while import {load_id} was running; nothing was replaced; fix: import again"
        )


def discard(warehouse: Warehouse, connection: Connection) -> None:
    """Remove what earlier imports left unfinished."""
    connection.execute(delete(rating_staging))
    if warehouse.is_sqlite:
        for name in inspect(connection).get_table_names():
            if name.startswith(NEXT):
                connection.exec_driver_sql(f"DROP TABLE {name}")


def prepare(warehouse: Warehouse, load_id: int, parts: Iterable[Ratings]) -> None:
    """Write the import's ratings where nobody reads them, in short transactions; (user, movie) must not repeat.

    Raises:
        ImportInterrupted: another import was started meanwhile.
    """
    if warehouse.is_sqlite:
        _fill_next(warehouse, load_id, parts)
    elif not _is_empty(warehouse):
        for chunk in _iterate_chunks(parts):
            with warehouse.begin() as connection:
                _require_latest(connection, load_id)
                warehouse.append(connection, rating_staging, {"load_id": np.full(len(chunk), load_id), **vars(chunk)})


def replace(warehouse: Warehouse, connection: Connection, load_id: int, rows: int, parts: Iterable[Ratings]) -> None:
    """Replace the source's ratings by the import's, which `prepare` was given; visible when the transaction commits.

    Args:
        rows: number of the import's ratings.

    Raises:
        ImportInterrupted: another import was started meanwhile.
    """
    _require_latest(connection, load_id)
    if warehouse.is_sqlite:
        _swap(connection, f"{NEXT}{int(load_id)}")
        return
    staged_here = select(func.count()).select_from(rating_staging).where(rating_staging.c.load_id == load_id)
    if int(connection.execute(staged_here).scalar_one()) == rows:
        connection.exec_driver_sql(_MERGE.format(load_id=int(load_id)))
        connection.exec_driver_sql(_REMOVE.format(load_id=int(load_id)))
        connection.execute(delete(rating_staging))
        return
    try:
        for chunk in _iterate_chunks(parts):
            added = {"simulated": np.zeros(len(chunk), dtype=bool), "load_id": np.full(len(chunk), load_id)}
            warehouse.append(connection, ratings, {**vars(chunk), **added})
    except IntegrityError as error:  # the API or another import has written meanwhile: the next one merges
        raise ImportInterrupted(load_id) from error


def _require_latest(connection: Connection, load_id: int) -> None:
    """Raises ImportInterrupted where a later import was started, which has discarded this one's rows."""
    if connection.execute(select(func.max(rating_loads.c.load_id))).scalar_one() != load_id:
        raise ImportInterrupted(load_id)


def _is_empty(warehouse: Warehouse) -> bool:
    with warehouse.connect() as connection:
        return connection.execute(select(ratings.c.user_id).limit(1)).first() is None


def _iterate_chunks(parts: Iterable[Ratings]) -> Iterator[Ratings]:
    for part in parts:
        for start in range(0, len(part), CHUNK_ROWS):
            yield part.take(slice(start, start + CHUNK_ROWS))


def _fill_next(warehouse: Warehouse, load_id: int, parts: Iterable[Ratings]) -> None:
    name = f"{NEXT}{int(load_id)}"
    with warehouse.begin() as connection:
        connection.execute(CreateTable(ratings.to_metadata(MetaData(), name=name)))
    names = ", ".join(RATING_COLUMNS)
    insert = f"INSERT INTO {name} ({names}, simulated, load_id) VALUES (?, ?, ?, ?, 0, {int(load_id)})"  # noqa: S608
    for chunk in _iterate_chunks(parts):
        rows = list(zip(*(values.tolist() for values in vars(chunk).values()), strict=True))
        with warehouse.begin() as connection:
            _require_latest(connection, load_id)
            connection.exec_driver_sql(insert, rows)


def _swap(connection: Connection, name: str) -> None:
    columns = ", ".join(ratings.c.keys())
    for conflict, simulated in (("REPLACE", "NOT "), ("IGNORE", "")):
        statement = _KEEP.format(table=name, columns=columns, conflict=conflict, simulated=simulated)
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql("DROP TABLE ratings")
    connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO ratings")
    for index in ratings.indexes:
        index.create(connection)
