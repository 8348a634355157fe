"""Fits algorithms of scikit-surprise on columns of ratings, and returns their biases as arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from accident_reco.models.movies.candidates.trainset import IndexedRatings, build_surprise_trainset
from accident_reco.models.movies.data.ratings import RatingScale


@dataclass(frozen=True)
class SurpriseFit:
    """A fitted algorithm, and where its users and movies are among those of the ratings.

    Args:
        users, movies: positions in `data` of the users and movies that the algorithm knows.
    """

    algorithm: Any
    data: IndexedRatings
    users: np.ndarray
    movies: np.ndarray

    def spread_users(self, values: np.ndarray, dtype: type = np.float64) -> np.ndarray:
        """Values of the algorithm's users as an array over all users, zero for those without a rating."""
        return _spread(values, self.users, len(self.data.user_ids), dtype)

    def spread_movies(self, values: np.ndarray, dtype: type = np.float64) -> np.ndarray:
        """Values of the algorithm's movies as an array over all movies, zero for those without a rating."""
        return _spread(values, self.movies, len(self.data.movie_ids), dtype)

    def read_biases(self) -> dict[str, np.ndarray]:
        """`user_bias`, `movie_bias` and `global_mean`."""
        return {
            "user_bias": self.spread_users(self.algorithm.bu),
            "movie_bias": self.spread_movies(self.algorithm.bi),
            "global_mean": np.array(self.algorithm.trainset.global_mean, dtype=np.float64),
        }

    def predict(self, user_id: int, movie_id: int) -> float:
        """Stars by Surprise's own `predict`, not clipped to the scale."""
        return float(self.algorithm.predict(user_id, movie_id, clip=False).est)


def fit_surprise(build: Callable[[IndexedRatings], Any], data: IndexedRatings, scale: RatingScale) -> SurpriseFit:
    """Fit an algorithm on the renumbered ratings, so that it draws the random numbers that it draws on a training set
    of Surprise's own.

    Args:
        build: the renumbered ratings → an algorithm that is not fitted yet.
    """
    compact, users, movies = data.compacted
    algorithm = build(compact)
    algorithm.fit(build_surprise_trainset(compact, scale))
    return SurpriseFit(algorithm, data, users, movies)


def _spread(values: np.ndarray, places: np.ndarray, size: int, dtype: type) -> np.ndarray:
    spread = np.zeros((size, *np.shape(values)[1:]), dtype=dtype)
    spread[places] = values
    return spread
