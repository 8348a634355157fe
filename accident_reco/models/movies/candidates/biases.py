"""Biases of users and movies as Surprise's BaselineOnly computes them, over whole columns. Pure numpy."""

from __future__ import annotations

from typing import Final

import numpy as np

from accident_reco.models.movies.candidates.trainset import IndexedRatings

# Surprise's own defaults for alternating least squares.
USER_DAMPING: Final = 15
MOVIE_DAMPING: Final = 10
ROUNDS: Final = 10


def fit_biases(data: IndexedRatings) -> dict[str, np.ndarray]:
    """`user_bias`, `movie_bias` (float64) and `global_mean`, those of `surprise.BaselineOnly` to the last digits.

    Alternating least squares (Koren 2010, section 2.1): each bias is the damped mean of the residuals of the others.
    One sum per column replaces Surprise's twenty passes over single ratings.
    """
    mean = float(np.mean(data.rating, dtype=np.float64))
    users, movies = len(data.user_ids), len(data.movie_ids)
    stars = data.rating.astype(np.float64) - mean
    user_bias, movie_bias = np.zeros(users), np.zeros(movies)
    user_count = np.bincount(data.user, minlength=users)
    movie_count = np.bincount(data.movie, minlength=movies)
    for _ in range(ROUNDS):
        residual = np.bincount(data.movie, stars - user_bias[data.user], movies)
        movie_bias = residual / (MOVIE_DAMPING + movie_count)
        residual = np.bincount(data.user, stars - movie_bias[data.movie], users)
        user_bias = residual / (USER_DAMPING + user_count)
    return {"user_bias": user_bias, "movie_bias": movie_bias, "global_mean": np.array(mean)}
