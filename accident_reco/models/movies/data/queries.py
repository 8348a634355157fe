"""Reads movies and ratings, in columns, and takes what the API brings. Imports have a module of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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

_READ_USERS = 400


@dataclass(frozen=True)
class StoredRatings:
    """Ratings as columns, and which are simulated. Of all that there are, taken or not: how many (`stored`), and the
    newest `received_at` (ms UTC, 0: none).
    """

    columns: dict[str, np.ndarray]
    simulated: np.ndarray
    stored: int
    received_until: int


# Reading


def read_movies(warehouse: Warehouse) -> list[tuple[int, str, str]]:
    """The catalogue: (movie_id, title, genres), by id."""
    query = select(movies.c.movie_id, movies.c.title, movies.c.genres).order_by(movies.c.movie_id)
    with warehouse.connect() as connection:
        return [(row.movie_id, row.title, row.genres) for row in connection.execute(query)]


def count_ratings(warehouse: Warehouse) -> int:
    """How many ratings there are."""
    with warehouse.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(ratings)).scalar_one())


def read_ratings(warehouse: Warehouse, taken: Callable[[np.ndarray], np.ndarray] | None = None) -> StoredRatings:
    """Ratings as columns, some hundred users at a time, so that they are never all Python objects at once.

    Args:
        taken: user ids → mask of the users whose ratings are read; of everybody by default.
    """
    with warehouse.connect() as connection:
        # Before the rows: a rating that comes in meanwhile is newer than what is read.
        stored, newest = connection.execute(select(func.count(), func.max(ratings.c.received_at))).one()
        users = np.array(connection.execute(select(ratings.c.user_id).distinct()).scalars().all(), dtype=np.int64)
        users = np.sort(users if taken is None else users[taken(users)])
        columns = _rows_of(connection, users, newest or 0)
    return StoredRatings(columns, columns.pop("simulated"), stored, newest or 0)


def known_ratings(warehouse: Warehouse, users: np.ndarray, until: int) -> dict[str, np.ndarray]:
    """What `read_ratings` gave of some users when its `received_until` was `until`: columns by user and movie.

    Theirs of the source, and what the API had taken until then (ms UTC, that moment included), simulated ones too. A
    rating that was changed since counts as newer: its earlier stars are not kept.
    """
    with warehouse.connect() as connection:
        columns = _rows_of(connection, np.unique(users), until)
    order = np.lexsort((columns["movie_id"], columns["user_id"]))
    return {name: values[order] for name, values in columns.items()}


def _rows_of(connection: Connection, users: np.ndarray, until: int) -> dict[str, np.ndarray]:
    kinds = {
        "user_id": np.int64, "movie_id": np.int64, "rating": np.float32, "rated_at": np.int64, "simulated": np.bool_,
    }  # fmt: skip
    parts: list[list[np.ndarray]] = [[np.zeros(0, dtype=kind)] for kind in kinds.values()]
    for start in range(0, len(users), _READ_USERS):
        some = {"users": users[start : start + _READ_USERS].tolist(), "until": until}
        cursor = connection.execute(_ROWS, some).cursor
        rows = cursor.fetchall() if cursor is not None else []
        for part, kind, column in zip(parts, kinds.values(), zip(*rows, strict=True), strict=False):
            part.append(np.array(column, dtype=kind))
    # One column after the other gives its chunks back before the next is put together.
    return {name: _joined(part) for name, part in zip(kinds, parts, strict=True)}


_ROWS = select(ratings.c.user_id, ratings.c.movie_id, ratings.c.rating, ratings.c.rated_at, ratings.c.simulated).where(
    ratings.c.user_id.in_(bindparam("users", expanding=True)),
    func.coalesce(ratings.c.received_at, 0) <= bindparam("until"),
)


def _joined(chunks: list[np.ndarray]) -> np.ndarray:
    whole = np.concatenate(chunks)
    chunks.clear()
    return whole


def user_histories(
    warehouse: Warehouse, user_ids: Sequence[int], *, newer_than: int, simulated: bool = True
) -> dict[int, dict[str, Any]]:
    """Ratings of some users: of each that has any the arrays `movie_id`, `rating`, `rated_at`, and `newer`: whether one
    was received after `newer_than` (ms UTC). `simulated=False` leaves made-up ratings out.
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


def _listed(column: ColumnElement[int]) -> ColumnElement[str]:
    # Written out: a separator that is a parameter makes SQLite take 1.7 times as long.
    comma: Any = literal_column("','")
    return func.aggregate_strings(cast(column, String), comma)


# A request waits for this. One text a column, put together by the database, is read in a third of the time that one
# tuple a rating takes; stars go as whole thousandths, since writing floats out costs as much again.
_HISTORY = select(
    _listed(ratings.c.movie_id),
    _listed(cast(func.round(ratings.c.rating * literal_column("1000")), Integer)),
    _listed(ratings.c.rated_at),
    func.max(ratings.c.received_at),
).where(ratings.c.user_id == bindparam("user"))


def received_ratings(warehouse: Warehouse, since: int, until: int, most: int | None = None) -> dict[str, np.ndarray]:
    """Ratings that the API took from `since` to before `until` (ms UTC), simulated ones too, oldest first; of more than
    `most` the newest. A window for drift.
    """
    names = ("user_id", "movie_id", "rating", "rated_at", "simulated", "received_at")
    query = (
        select(*(ratings.c[name] for name in names))
        .where(ratings.c.received_at >= since, ratings.c.received_at < until)
        .order_by(ratings.c.received_at.desc(), ratings.c.user_id.desc(), ratings.c.movie_id.desc())
        .limit(most)
    )
    with warehouse.connect() as connection:
        rows = connection.execute(query).all()[::-1]
    return {name: np.array([row[place] for row in rows]) for place, name in enumerate(names)}


def count_received(warehouse: Warehouse, after: int) -> int:
    """How many ratings of people, not simulated ones, the API took after `after` (ms UTC)."""
    query = select(func.count()).where(ratings.c.received_at > after, ~ratings.c.simulated)
    with warehouse.connect() as connection:
        return int(connection.execute(query).scalar_one())


def known_movies(warehouse: Warehouse, movie_ids: Iterable[int]) -> set[int]:
    """Which of the ids are in the catalogue."""
    wanted = list(set(movie_ids))
    found: set[int] = set()
    with warehouse.connect() as connection:
        for start in range(0, len(wanted), 500):
            query = select(movies.c.movie_id).where(movies.c.movie_id.in_(wanted[start : start + 500]))
            found |= set(connection.execute(query).scalars())
    return found


def existing_users(warehouse: Warehouse, user_ids: Sequence[int]) -> set[int]:
    """Which of the users have a rating."""
    found: set[int] = set()
    with warehouse.connect() as connection:
        for start in range(0, len(user_ids), 500):
            some = ratings.c.user_id.in_(user_ids[start : start + 500])
            found |= set(connection.execute(select(ratings.c.user_id).where(some).distinct()).scalars())
    return found


# What the API takes


def add_ratings(warehouse: Warehouse, columns: Columns, *, simulated: bool, received_at: int) -> dict[str, int]:
    """Take ratings through the API, in one transaction: new, changed or the same as before (which changes nothing).

    A real rating replaces a simulated one; a simulated one never replaces anything. (user, movie) must not repeat.

    Returns:
        `inserted`, `updated`, `unchanged`; for simulated ratings `unchanged` counts those that met another.
    """
    inserted = updated = 0
    names = ("user_id", "movie_id", "rating", "rated_at")
    rows = list(zip(*(columns[name].tolist() for name in names), strict=True))
    with warehouse.begin() as connection:
        for start in range(0, len(rows), 400):
            part = rows[start : start + 400]
            before = _stored(connection, part)
            fresh, changed = [], []
            for user, movie, stars, when in part:
                row = {"user_id": user, "movie_id": movie, "rating": stars, "rated_at": when,
                       "simulated": simulated, "received_at": received_at, "load_id": None}  # fmt: skip
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
    .values(
        {name: bindparam(name) for name in ("rating", "rated_at", "simulated", "received_at", "load_id")}
    )
)  # fmt: skip


def _stored(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> dict[tuple[int, int], tuple[float, bool]]:
    """Stars and simulated flag of those of the (user, movie) pairs that are stored."""
    users, wanted = {row[0] for row in rows}, {row[1] for row in rows}
    query = select(ratings.c.user_id, ratings.c.movie_id, ratings.c.rating, ratings.c.simulated).where(
        ratings.c.user_id.in_(users), ratings.c.movie_id.in_(wanted)
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in connection.execute(query)}
