"""All ratings as columns: the Parquet parts of the last import, with what the API received instead or in addition.

The warehouse decides which import counts, so that parts of a killed import are never read. Parts that are missing, or
that do not agree with the warehouse in number, are written again from it. See docs: Ratings as columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from accident_reco.models.movies.data import imports, queries
from accident_reco.models.movies.data.rating_parts import (
    PartsManifest,
    PartsWriter,
    is_complete,
    iterate_parts,
    read_manifest,
)
from accident_reco.models.movies.data.ratings import RATING_COLUMNS, Ratings, build_pair_keys
from accident_reco.storage.objects import ObjectNotFound, ObjectStore
from accident_reco.storage.warehouse import Warehouse

if TYPE_CHECKING:
    from sqlalchemy import Connection

MAX_ATTEMPTS: Final = 3
"""Times that reading begins anew, since another import has replaced the parts meanwhile."""


Result = TypeVar("Result")


@dataclass(frozen=True)
class OpenedRatings:
    """Ratings of one moment: parts, and received ratings that take the place of a part's rating of the same pair.

    Args:
        live: what the API received: columns of `Ratings`, `simulated` and `received_at`.
        stored: number of all ratings; None where it was not counted.
        received_until: newest `received_at` (ms UTC; 0: none), simulated ones too.
    """

    store: ObjectStore
    manifest: PartsManifest
    live: dict[str, np.ndarray]
    stored: int | None
    received_until: int

    @property
    def urls(self) -> list[str]:
        """URLs of the parts; their rows that `live` has, too, do not count."""
        return self.manifest.list_urls(self.store)

    @cached_property
    def live_pairs(self) -> np.ndarray:
        """Sorted keys of the received ratings."""
        return np.sort(build_pair_keys(self.live["user_id"], self.live["movie_id"]))

    def iterate_source(self, users: np.ndarray | None = None) -> Iterator[Ratings]:
        """The source's ratings part by part, without those that the API has received since.

        Args:
            users: sorted ids of the users whose ratings are read; all by default.
        """
        for part in iterate_parts(self.store, self.manifest, users):
            yield part.take(~self._is_replaced(part)) if len(self.live_pairs) else part

    def count(self) -> int:
        """Number of ratings: those of the parts that the API has not received since, and what it received."""
        users = np.unique(self.live["user_id"])
        parts = iterate_parts(self.store, self.manifest, users) if len(users) else ()
        replaced = sum(int(self._is_replaced(part).sum()) for part in parts)
        return self.manifest.rows - replaced + len(self.live_pairs)

    def _is_replaced(self, part: Ratings) -> np.ndarray:
        return np.isin(build_pair_keys(part.user_id, part.movie_id), self.live_pairs)


@dataclass(frozen=True)
class StoredRatings:
    """Ratings in memory.

    Args:
        simulated: mask of the simulated ones.
        stored: number of all stored ratings, those of other users included.
        received_until: newest `received_at` of all stored ratings (ms UTC; 0: none).
    """

    ratings: Ratings
    simulated: np.ndarray
    stored: int
    received_until: int


def open_ratings(store: ObjectStore, warehouse: Warehouse) -> OpenedRatings:
    """All stored ratings, as many as the warehouse has: parts are written from it where there are none, or others.

    That is so after an upgrade, a restored backup, or rows that were deleted from the warehouse. Counting them reads
    the warehouse's table.
    """
    return _open(store, warehouse, count=True)


def read_ratings(
    store: ObjectStore, warehouse: Warehouse, select_users: Callable[[np.ndarray, int], np.ndarray] | None = None
) -> StoredRatings:
    """All ratings, or those of some users.

    Args:
        select_users: user ids and the number of stored ratings → mask of the users whose ratings are read.
    """

    def read() -> StoredRatings:
        opened = open_ratings(store, warehouse)
        stored = int(opened.stored or 0)

        def choose(part: Ratings) -> np.ndarray:
            if select_users is None:
                return np.ones(len(part), dtype=bool)
            users, user = np.unique(part.user_id, return_inverse=True)
            return select_users(users, stored)[user]

        parts = [part if select_users is None else part.take(choose(part)) for part in opened.iterate_source()]
        live = Ratings(*(opened.live[name] for name in RATING_COLUMNS))
        chosen = choose(live)
        simulated = np.zeros(sum(map(len, parts)) + int(chosen.sum()), dtype=bool)
        simulated[len(simulated) - int(chosen.sum()) :] = opened.live["simulated"][chosen]
        ratings = Ratings.concatenate([*parts, live.take(chosen)])
        return StoredRatings(ratings, simulated, stored, opened.received_until)

    return _retry(read)


def read_ratings_until(store: ObjectStore, warehouse: Warehouse, users: np.ndarray, until: int) -> Ratings:
    """Ratings of some users as `read_ratings` returned them when its `received_until` was `until`, sorted by user and
    movie: those of the source, and those that the API had received by then (ms UTC, inclusive), simulated ones too.

    A rating that was changed since counts as newer: its earlier stars are not kept.
    """

    def read() -> Ratings:
        wanted = np.unique(users)
        opened = _open(store, warehouse, count=False)
        live = Ratings(*(opened.live[name] for name in RATING_COLUMNS))
        known = live.take(np.isin(live.user_id, wanted) & (opened.live["received_at"] <= until))
        return Ratings.concatenate([*opened.iterate_source(wanted), known]).sort_by_user()

    return _retry(read)


def _retry(read: Callable[[], Result]) -> Result:
    """Read again where another import has replaced the parts meanwhile."""
    for _ in range(MAX_ATTEMPTS - 1):
        with suppress(ObjectNotFound):
            return read()
    return read()


def _open(store: ObjectStore, warehouse: Warehouse, *, count: bool) -> OpenedRatings:
    with open_snapshot(warehouse) as connection:
        received = queries.read_all_received(connection, count=count)
        live, stored, until = received.columns, received.stored, received.received_until
        manifest = find_parts(store, connection)
        if manifest is not None:
            opened = OpenedRatings(store, manifest, live, stored, until)
            if not count or opened.count() == stored:
                return opened
        return OpenedRatings(store, write_parts(store, connection), live, stored, until)


def find_parts(store: ObjectStore, connection: Connection) -> PartsManifest | None:
    """The parts of the last import; None where some are missing."""
    manifest = read_manifest(store, *_read_import(connection))
    return manifest if manifest is not None and is_complete(store, manifest) else None


def write_parts(store: ObjectStore, connection: Connection) -> PartsManifest:
    """Write the parts of the last import again, from the warehouse."""
    writer = PartsWriter(store, *_read_import(connection))
    for block in queries.iterate_source_ratings(connection):
        writer.add(Ratings(**block))
    return writer.finish()


def _read_import(connection: Connection) -> tuple[int, str]:
    """Id of the last import and digest of its ratings file."""
    load = imports.read_last(connection)
    return (load.load_id, load.ratings_sha256) if load is not None else (0, "")


@contextmanager
def open_snapshot(warehouse: Warehouse) -> Iterator[Connection]:
    """A connection whose queries all see the same moment."""
    with warehouse.connect() as connection:
        yield connection if warehouse.is_sqlite else connection.execution_options(isolation_level="REPEATABLE READ")
