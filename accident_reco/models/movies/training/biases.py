"""How far users and movies lie from the mean: BaselineOnly's biases, a whole column at a time. Pure numpy."""

from __future__ import annotations

from typing import Final

import numpy as np

from accident_reco.models.movies.training.trainset import IndexedRatings

# Surprise's own defaults for alternating least squares.
USER_DAMPING: Final = 15
MOVIE_DAMPING: Final = 10
ROUNDS: Final = 10


def damped_biases(data: IndexedRatings) -> dict[str, np.ndarray]:
    """`user_bias`, `movie_bias` (float64) and `global_mean`, those of `surprise.BaselineOnly` to the last digits.

    Alternating least squares (Koren 2010, section 2.1): each bias is the damped mean of what the others leave over.
    Where Surprise visits each rating in turn, twenty times over, one sum per column does.
    """
    mean = float(np.mean(data.rating, dtype=np.float64))
    users, movies = len(data.user_ids), len(data.movie_ids)
    stars = data.rating.astype(np.float64) - mean
    user_bias, movie_bias = np.zeros(users), np.zeros(movies)
    rated_by = np.bincount(data.user, minlength=users)
    ratings_of = np.bincount(data.movie, minlength=movies)
    for _ in range(ROUNDS):
        left = np.bincount(data.movie, stars - user_bias[data.user], movies)
        movie_bias = left / (MOVIE_DAMPING + ratings_of)
        left = np.bincount(data.user, stars - movie_bias[data.movie], users)
        user_bias = left / (USER_DAMPING + rated_by)
    return {"user_bias": user_bias, "movie_bias": movie_bias, "global_mean": np.array(mean)}
