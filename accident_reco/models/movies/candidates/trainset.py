"""Presents rating columns to Surprise as its `Trainset`, without one Python object per rating.

Surprise keeps two dictionaries of lists of tuples, some 400 bytes a rating. Here both are views over sorted arrays that
build the list of one user or movie on access. Inner ids are positions in the sorted arrays of ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.movies.data.ratings import Ratings, RatingScale

SAMPLE_SALT: Final = 0x0B5E_55ED
"""Unlike that of a training's users, whom a setting may have chosen by hash before."""
KEEP_LISTS_UP_TO = 1_000_000
"""Ratings up to which the lists that Surprise reads are kept."""


@dataclass(frozen=True)
class IndexedRatings:
    """Ratings with users and movies as positions in sorted id arrays, rows ordered by user, then movie."""

    user_ids: np.ndarray
    movie_ids: np.ndarray
    user: np.ndarray
    movie: np.ndarray
    rating: np.ndarray

    @classmethod
    def from_ratings(cls, ratings: Ratings) -> IndexedRatings:
        """Index ratings by the ids that occur."""
        ordered = ratings.sort_by_user()
        users, movies = np.unique(ordered.user_id), np.unique(ordered.movie_id)
        return cls(
            users,
            movies,
            np.searchsorted(users, ordered.user_id).astype(np.int32),
            np.searchsorted(movies, ordered.movie_id).astype(np.int32),
            ordered.rating,
        )

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def compacted(self) -> tuple[IndexedRatings, np.ndarray, np.ndarray]:
        """Only the users and movies that have a row, numbered in the order of their first row, as in Surprise.

        The renumbered ratings (their `movie_ids` are not sorted), and the former positions of users and movies.
        Computed once, since all fits of a stack hold them.
        """
        users = np.unique(self.user)
        found, first = np.unique(self.movie, return_index=True)
        movies = found[np.argsort(first, kind="stable")]
        number = np.empty(len(self.movie_ids), dtype=np.int32)
        number[movies] = np.arange(len(movies), dtype=np.int32)
        user = np.searchsorted(users, self.user).astype(np.int32)
        ids = self.user_ids[users], self.movie_ids[movies]
        renumbered = IndexedRatings(*ids, user, number[self.movie], self.rating)
        return renumbered, users, movies

    @cached_property
    def by_movie(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Movie, user and stars of each row, ordered by movie."""
        order = np.argsort(self.movie, kind="stable")
        return self.movie[order], self.user[order], self.rating[order]

    def take(self, rows: np.ndarray) -> IndexedRatings:
        """The rows of a mask (or of ascending positions), with the same ids."""
        return IndexedRatings(self.user_ids, self.movie_ids, self.user[rows], self.movie[rows], self.rating[rows])

    def mask_sample(self, max_ratings: int) -> np.ndarray:
        """Mask of about `max_ratings` rows at most: whole users, chosen by hash of their ids."""
        users = in_holdout(self.user_ids, min(1.0, max_ratings / max(len(self), 1)), SAMPLE_SALT)
        chosen: np.ndarray = users[self.user]
        return chosen

    def sample_users(self, max_ratings: int) -> IndexedRatings:
        """The rows of `mask_sample`, with the same ids; the ratings themselves where they are few enough."""
        return self if len(self) <= max_ratings else self.take(self.mask_sample(max_ratings))

    def build_matrix(self) -> Any:
        """Users × movies as a scipy CSR matrix of float32 stars, which shares the positions of the movies."""
        import scipy.sparse as sparse

        # The rows are in the order of such a matrix: nothing has to be sorted or copied but the stars.
        start = np.concatenate([[0], np.cumsum(np.bincount(self.user, minlength=len(self.user_ids)))])
        return sparse.csr_matrix(
            (self.rating.astype(np.float32), self.movie, start.astype(np.int32)),
            shape=(len(self.user_ids), len(self.movie_ids)),
        )


class _Rows(Mapping[int, list[tuple[int, float]]]):
    """One of Surprise's dictionaries: key → list of (other id, rating); only keys that have ratings exist."""

    def __init__(self, key: np.ndarray, other: np.ndarray, rating: np.ndarray, size: int) -> None:
        self._start = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=size))])
        self._other, self._rating = other, rating
        # Lists of small sets are kept between epochs; those of large sets are rebuilt, to bound memory.
        self._lists: dict[int, list[tuple[int, float]]] | None = {} if len(rating) <= KEEP_LISTS_UP_TO else None

    def __getitem__(self, key: int) -> list[tuple[int, float]]:
        if self._lists is not None and key in self._lists:
            return self._lists[key]
        if key not in self:
            raise KeyError(key)
        rows = slice(self._start[key], self._start[key + 1])
        pairs = list(zip(self._other[rows].tolist(), self._rating[rows].tolist(), strict=True))
        if self._lists is not None:
            self._lists[key] = pairs
        return pairs

    def __contains__(self, key: object) -> bool:
        # Surprise passes a string for an unknown id.
        return bool(
            isinstance(key, int | np.integer)
            and 0 <= key < len(self._start) - 1
            and self._start[key + 1] > self._start[key]
        )

    def __iter__(self) -> Iterator[int]:
        return iter(np.flatnonzero(np.diff(self._start)).tolist())

    def __len__(self) -> int:
        return int(np.count_nonzero(np.diff(self._start)))


class _Positions(Mapping[int, int]):
    """Raw id → inner id, by binary search."""

    def __init__(self, ids: np.ndarray) -> None:
        self._order = np.argsort(ids, kind="stable")
        self._ids = ids[self._order]

    def __getitem__(self, raw: int) -> int:
        at = int(np.searchsorted(self._ids, raw))
        if at == len(self._ids) or self._ids[at] != raw:
            raise KeyError(raw)
        return int(self._order[at])

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids.tolist())

    def __len__(self) -> int:
        return len(self._ids)


def build_surprise_trainset(data: IndexedRatings, scale: RatingScale) -> Any:
    """Build a `surprise.Trainset` over the columns; users and movies without a row in `data` are unknown to it."""
    from surprise import Trainset

    mean = float(np.mean(data.rating, dtype=np.float64))

    class ColumnarTrainset(Trainset):
        """Surprise's training set, with users and movies without a rating left out of its iteration."""

        def all_users(self) -> list[int]:
            return list(self.ur)

        def all_items(self) -> list[int]:
            return list(self.ir)

        @property
        def global_mean(self) -> float:
            # The inherited property builds a list of all ratings first, and every prediction reads it.
            return mean

    users, movies = len(data.user_ids), len(data.movie_ids)
    return ColumnarTrainset(
        _Rows(data.user, data.movie, data.rating, users),
        _Rows(*data.by_movie, movies),
        users,
        movies,
        len(data),
        (scale.low, scale.high),
        _Positions(data.user_ids),
        _Positions(data.movie_ids),
    )
