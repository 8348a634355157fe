"""Computes how well liked each movie is, the ranking for unknown users: a damped mean in which old ratings fade."""

from __future__ import annotations

import numpy as np

DAY_SECONDS = 86_400


def compute_popularity(
    movie: np.ndarray, rating: np.ndarray, rated_at: np.ndarray, movies: int, *, damping: float, half_life_days: float
) -> np.ndarray:
    """Weighted mean of each movie's stars, pulled to the overall mean by `damping` average ratings.

    score(m) = (Σ w·r + damping·μ) / (Σ w + damping), w = 2^(-age / half life). Ages are relative to the newest rating,
    so that an old dataset keeps its order.

    Args:
        movie: position of the rated movie, shape (n,), in [0, movies).
        rated_at: seconds since 1970 UTC, shape (n,).

    Returns:
        Stars, float32, shape (movies,). A movie without ratings gets the overall mean.
    """
    if not len(movie):
        return np.zeros(movies, dtype=np.float32)
    # In place: of tens of millions of ratings each column takes hundreds of megabytes.
    weight = (int(rated_at.max()) - rated_at) / -DAY_SECONDS
    weight /= half_life_days
    np.exp2(weight, out=weight)
    mean = float(np.average(rating, weights=weight))
    total = np.bincount(movie, weights=weight, minlength=movies)
    stars = np.bincount(movie, weights=weight * rating, minlength=movies)
    return ((stars + damping * mean) / (total + damping)).astype(np.float32)
