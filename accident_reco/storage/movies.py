"""Reads and writes movies and ratings. Ratings move in columns and chunks; rules and formats are the caller's.

An import never leaves the table half empty: rows are upserted chunk by chunk in short transactions and marked with the
import's number; only when all are in, what older imports brought and this one did not is removed. What the API took is
newer than any file and stays.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from accident_reco.storage.tables.movies import movies, rating_loads, rating_quarantine, ratings
from accident_reco.storage.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

Columns = Mapping[str, np.ndarray]
"""`user_id`, `movie_id` (int64), `rating` (float32), `rated_at` (int64, seconds UTC), of one length."""

CHUNK_ROWS = 50_000
_READ_USERS = 400
_REMOVE_USERS = 5_000

_UPSERT = """
    INSERT INTO ratings (user_id, movie_id, rating, rated_at, simulated, load_id) {rows}
    ON CONFLICT (user_id, movie_id) DO UPDATE SET rating = excluded.rating, rated_at = excluded.rated_at,
        simulated = excluded.simulated, received_at = NULL, load_id = excluded.load_id
    WHERE ratings.load_id IS NOT NULL OR ratings.simulated
"""


@dataclass(frozen=True)
class Load:
    """One import as `rating_loads` tells it; `fresh` is False when the same files were in already."""

    load_id: int
    rows: int
    quarantined: int
    fresh: bool


@dataclass(frozen=True)
class StoredRatings:
    """Ratings as columns, and which are simulated. Of all that there are, taken or not: how many (`stored`), and the
    newest `received_at` (ms UTC, 0: none).
    """

    columns: dict[str, np.ndarray]
    simulated: np.ndarray
    stored: int
    received_until: int


# Imports


def finished_load(warehouse: Warehouse, ratings_sha256: str, movies_sha256: str, data_source: str) -> Load | None:
    """The last complete import, if it was of these very files."""
    query = select(rating_loads).where(rating_loads.c.finished_at.isnot(None)).order_by(rating_loads.c.load_id.desc())
    with warehouse.connect() as connection:
        last = connection.execute(query.limit(1)).first()
    if last is None or (last.ratings_sha256, last.movies_sha256, last.data_source) != (
        ratings_sha256, movies_sha256, data_source,
    ):  # fmt: skip
        return None
    return Load(last.load_id, last.rows, last.quarantined, fresh=False)


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
                _copy_upsert(connection, load_id, chunk)


def _copy_upsert(connection: Connection, load_id: int, chunk: Sequence[list[Any]]) -> None:
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


def write_quarantine(warehouse: Warehouse, load_id: int, refused: pd.DataFrame) -> None:
    """Keep refused rows with their reasons."""
    if len(refused):
        with warehouse.begin() as connection:
            warehouse.append(connection, rating_quarantine, refused.assign(load_id=load_id))


def finish_load(warehouse: Warehouse, load_id: int, rows: int, quarantined: int) -> Load:
    """Remove what older imports brought and this one did not, then call the import complete."""
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
            # The driver's own tuples: a request waits for this, and nobody looks at the rows one by one.
            cursor = connection.execute(query, {"user": user}).cursor
            if cursor is None or not (rows := cursor.fetchall()):
                continue
            movie, stars, when, received = zip(*rows, strict=True)
            found[user] = {
                "movie_id": np.array(movie, dtype=np.int64),
                "rating": np.array(stars, dtype=np.float32),
                "rated_at": np.array(when, dtype=np.int64),
                "newer": max(received) > newer_than,
            }
    return found


_HISTORY = select(
    ratings.c.movie_id, ratings.c.rating, ratings.c.rated_at, func.coalesce(ratings.c.received_at, 0)
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
