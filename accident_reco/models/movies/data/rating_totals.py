"""Totals of training ratings over users and movies: what a version holds of its rows beside the arrays of its fit.

Both ways to fit build them: from columns in memory here, by aggregates of a cluster in `candidates.spark_totals`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from accident_reco.models.movies.data.ratings import Ratings

DAY_SECONDS: Final = 86_400


@dataclass(frozen=True)
class RatingTotals:
    """Totals of ratings, in which old ratings fade: the weight of one is 2^(-age / half life), its age relative to the
    newest rating, so that an old dataset keeps its order.

    Args:
        user_ids: ascending, of all users.
        movie_ids: ascending, shape (movies,); the arrays below are over these.
        count: number of ratings (int64).
        weight, stars: sums of the weights, and of weight times stars (float64).
    """

    user_ids: np.ndarray
    movie_ids: np.ndarray
    count: np.ndarray
    weight: np.ndarray
    stars: np.ndarray

    @property
    def rows(self) -> int:
        """Number of ratings."""
        return int(self.count.sum())

    @classmethod
    def from_ratings(
        cls, ratings: Ratings, user_ids: np.ndarray, movie_ids: np.ndarray, half_life_days: float
    ) -> RatingTotals:
        """Totals of columns whose users and movies are among the ids; of a movie without ratings they are 0."""
        movie, size = np.searchsorted(movie_ids, ratings.movie_id), len(movie_ids)
        # In place: of tens of millions of ratings each column takes hundreds of megabytes.
        weight = (int(ratings.rated_at.max(initial=0)) - ratings.rated_at) / -DAY_SECONDS
        weight /= half_life_days
        np.exp2(weight, out=weight)
        return cls(
            user_ids,
            movie_ids,
            np.bincount(movie, minlength=size),
            np.bincount(movie, weights=weight, minlength=size),
            np.bincount(movie, weights=weight * ratings.rating, minlength=size),
        )
