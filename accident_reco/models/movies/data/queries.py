"""Reads movies and ratings as columns, and writes the ratings that the API receives. Imports are in `imports`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    String,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    select,
    update,
)

from accident_reco.models.movies.data.tables import movies, ratings
from accident_reco.storage.warehouse import Warehouse

Columns = Mapping[str, np.ndarray]
"""`user_id`, `movie_id` (int64), `rating` (float32), `rated_at` (int64, seconds UTC), of one length."""

_KINDS: dict[str, type[np.generic]] = {
    "user_id": np.int64,
    "movie_id": np.int64,
    "rating": np.float32,
    "rated_at": np.int64,
}
_RECEIVED_KINDS: dict[str, type[np.generic]] = {**_KINDS, "simulated": np.bool_, "received_at": np.int64}
_RECEIVED = select(*(ratings.c[name] for name in _RECEIVED_KINDS)).where(ratings.c.received_at.is_not(None))
_BLOCK_ROWS = 100_000


# Reading


def read_movies(warehouse: Warehouse) -> list[tuple[int, str, str]]:
    """The catalogue: (movie_id, title, genres), by id."""
    query = select(movies.c.movie_id, movies.c.title, movies.c.genres).order_by(movies.c.movie_id)
    with warehouse.connect() as connection:
        return [(row.movie_id, row.title, row.genres) for row in connection.execute(query)]


def count_data(warehouse: Warehouse) -> dict[str, int]:
    """Number of stored ratings (`rows`), of users with ratings, and of movies in the catalogue. Reads every user id."""
    stored = select(func.count(), func.count(ratings.c.user_id.distinct())).select_from(ratings)
    with warehouse.connect() as connection:
        rows, users = connection.execute(stored).one()
        catalogue = connection.execute(select(func.count()).select_from(movies)).scalar_one()
    return {"rows": int(rows), "users": int(users), "movies": int(catalogue)}


@dataclass(frozen=True)
class ReceivedRatings:
    """What the API received, as columns with `simulated` and `received_at`, and counts of the same moment.

    Args:
        stored: number of all stored ratings, the source's included; None where it was not counted.
    """

    columns: dict[str, np.ndarray]
    stored: int | None

    @property
    def received_until(self) -> int:
        """Newest `received_at` (ms UTC; 0: none)."""
        return int(self.columns["received_at"].max(initial=0))


def read_all_received(connection: Connection, *, count: bool) -> ReceivedRatings:
    """Every rating that the API received, simulated ones too. Counting all stored ratings reads the whole table."""
    blocks = list(iterate_received(connection, _BLOCK_ROWS))
    columns = {
        name: np.concatenate([np.zeros(0, dtype=kind), *(block[name] for block in blocks)])
        for name, kind in _RECEIVED_KINDS.items()
    }
    stored = int(connection.execute(select(func.count()).select_from(ratings)).scalar_one()) if count else None
    return ReceivedRatings(columns, stored)


def iterate_received(connection: Connection, block_rows: int) -> Iterator[dict[str, np.ndarray]]:
    """The columns of `read_all_received` in blocks, in no order."""
    result = connection.execute(_RECEIVED, execution_options={"yield_per": block_rows})
    for rows in result.partitions():
        columns = zip(_RECEIVED_KINDS.items(), zip(*rows, strict=True), strict=True)
        yield {name: np.array(values, dtype=kind) for (name, kind), values in columns}


def iterate_source_ratings(connection: Connection) -> Iterator[dict[str, np.ndarray]]:
    """The stored ratings of the source in blocks of columns, by user and movie."""
    query = select(*(ratings.c[name] for name in _KINDS)).where(ratings.c.received_at.is_(None))
    ordered = query.order_by(ratings.c.user_id, ratings.c.movie_id)
    result = connection.execution_options(yield_per=_BLOCK_ROWS).execute(ordered)
    for rows in result.partitions():
        columns = zip(_KINDS.items(), zip(*rows, strict=True), strict=True)
        yield {name: np.array(values, dtype=kind) for (name, kind), values in columns}


def read_user_histories(
    warehouse: Warehouse, user_ids: Sequence[int], *, newer_than: int, simulated: bool = True
) -> dict[int, dict[str, Any]]:
    """Ratings of those users that have any, as the arguments of a `History`.

    Args:
        newer_than: `newer` is whether a rating was received after this time (ms UTC).
        simulated: whether simulated ratings are included.
    """
    query = _HISTORY if simulated else _HISTORY.where(~ratings.c.simulated)
    found = {}
    with warehouse.connect() as connection:
        for user in user_ids:
            *texts, newest = connection.execute(query, {"user": user}).one()
            if texts[0] is None:
                continue
            movie, thousandths, when = (np.fromstring(text, dtype=np.int64, sep=",") for text in texts)
            found[user] = {
                "movie_id": movie,
                "rating": (thousandths / 1000).astype(np.float32),
                "rated_at": when,
                "newer": (newest or 0) > newer_than,
            }
    return found


def list_user_ratings(warehouse: Warehouse, user_id: int, limit: int) -> tuple[int, list[dict[str, Any]]]:
    """Number of a user's ratings, and the newest of them, with title and genres of the movies in the catalogue."""
    of_user = ratings.c.user_id == user_id
    names = ("movie_id", "rating", "rated_at", "simulated")
    query = (
        select(*(ratings.c[name] for name in names), movies.c.title, movies.c.genres)
        .select_from(ratings.outerjoin(movies, movies.c.movie_id == ratings.c.movie_id))
        .where(of_user)
        .order_by(ratings.c.rated_at.desc(), ratings.c.movie_id)
        .limit(limit)
    )
    with warehouse.connect() as connection:
        number = connection.execute(select(func.count()).select_from(ratings).where(of_user)).scalar_one()
        rows = connection.execute(query).all()
    shown = [dict(zip((*names, "title"), row[:-1], strict=True)) | {"genres": _split_genres(row[-1])} for row in rows]
    return int(number), shown


def _split_genres(joined: str | None) -> list[str]:
    return [name for name in (joined or "").split("|") if name]


def _aggregate_text(column: ColumnElement[int]) -> ColumnElement[str]:
    # A literal: with the separator as a parameter SQLite takes 1.7 times as long.
    comma: Any = literal_column("','")
    return func.aggregate_strings(cast(column, String), comma)


# A request waits for this. One text per column, aggregated by the database, is read in a third of the time of one
# tuple per rating; stars are sent as whole thousandths, since formatting floats costs as much again.
_HISTORY = select(
    _aggregate_text(ratings.c.movie_id),
    _aggregate_text(cast(func.round(ratings.c.rating * literal_column("1000")), Integer)),
    _aggregate_text(ratings.c.rated_at),
    func.max(ratings.c.received_at),
).where(ratings.c.user_id == bindparam("user"))


def read_received_ratings(warehouse: Warehouse, since: int, until: int, limit: int) -> dict[str, np.ndarray]:
    """Ratings that the API received from `since` to before `until` (ms UTC), simulated ones too, oldest first; of more
    than `limit` the newest.
    """
    names = ("user_id", "movie_id", "rating", "rated_at", "simulated", "received_at")
    query = (
        select(*(ratings.c[name] for name in names))
        .where(ratings.c.received_at >= since, ratings.c.received_at < until)
        .order_by(ratings.c.received_at.desc(), ratings.c.user_id.desc(), ratings.c.movie_id.desc())
        .limit(limit)
    )
    with warehouse.connect() as connection:
        rows = connection.execute(query).all()[::-1]
    return {name: np.array([row[place] for row in rows]) for place, name in enumerate(names)}


def count_received(warehouse: Warehouse, after: int) -> int:
    """Number of ratings, simulated ones excluded, that the API received after `after` (ms UTC)."""
    query = select(func.count()).where(ratings.c.received_at > after, ~ratings.c.simulated)
    with warehouse.connect() as connection:
        return int(connection.execute(query).scalar_one())


def read_newest_received(warehouse: Warehouse) -> int:
    """Time at which the API received its newest rating (ms UTC; 0: none), simulated ones too."""
    query = select(func.max(ratings.c.received_at)).where(ratings.c.received_at.is_not(None))
    with warehouse.connect() as connection:
        return int(connection.execute(query).scalar() or 0)


def select_known_movies(warehouse: Warehouse, movie_ids: Iterable[int]) -> set[int]:
    """Those of the ids that are in the catalogue."""
    wanted = list(set(movie_ids))
    found: set[int] = set()
    with warehouse.connect() as connection:
        for start in range(0, len(wanted), 500):
            query = select(movies.c.movie_id).where(movies.c.movie_id.in_(wanted[start : start + 500]))
            found |= set(connection.execute(query).scalars())
    return found


def select_existing_users(warehouse: Warehouse, user_ids: Sequence[int]) -> set[int]:
    """Those of the users that have a rating."""
    found: set[int] = set()
    with warehouse.connect() as connection:
        for start in range(0, len(user_ids), 500):
            some = ratings.c.user_id.in_(user_ids[start : start + 500])
            found |= set(connection.execute(select(ratings.c.user_id).where(some).distinct()).scalars())
    return found


# Writing


def add_ratings(warehouse: Warehouse, columns: Columns, *, simulated: bool, received_at: int) -> dict[str, int]:
    """Write received ratings in one transaction; a rating that is stored already changes nothing.

    A real rating replaces a simulated one; a simulated one never replaces anything. (user, movie) must not repeat.

    Returns:
        Numbers `inserted`, `updated`, `unchanged`; a simulated rating of a rated pair is `unchanged`.
    """
    inserted = updated = 0
    names = ("user_id", "movie_id", "rating", "rated_at")
    rows = list(zip(*(columns[name].tolist() for name in names), strict=True))
    with warehouse.begin() as connection:
        for start in range(0, len(rows), 400):
            part = rows[start : start + 400]
            before = _read_stored(connection, part)
            fresh, changed = [], []
            for user, movie, stars, when in part:
                row = {
                    "user_id": user,
                    "movie_id": movie,
                    "rating": stars,
                    "rated_at": when,
                    "simulated": simulated,
                    "received_at": received_at,
                    "load_id": None,
                }
                old = before.get((user, movie))
                if old is None:
                    fresh.append(row)
                elif not simulated and (old[0] != stars or old[1]):
                    changed.append({**row, "key_user": user, "key_movie": movie})
            if fresh:
                connection.execute(insert(ratings), fresh)
            if changed:
                connection.execute(_CHANGE, changed)
            inserted, updated = inserted + len(fresh), updated + len(changed)
    return {"inserted": inserted, "updated": updated, "unchanged": len(rows) - inserted - updated}


_CHANGE = (
    update(ratings)
    .where(ratings.c.user_id == bindparam("key_user"), ratings.c.movie_id == bindparam("key_movie"))
    .values({name: bindparam(name) for name in ("rating", "rated_at", "simulated", "received_at", "load_id")})
)


def _read_stored(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> dict[tuple[int, int], tuple[float, bool]]:
    """Stars and simulated flag of the (user, movie) pairs that are stored."""
    users, wanted = {row[0] for row in rows}, {row[1] for row in rows}
    query = select(ratings.c.user_id, ratings.c.movie_id, ratings.c.rating, ratings.c.simulated).where(
        ratings.c.user_id.in_(users), ratings.c.movie_id.in_(wanted)
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in connection.execute(query)}
