"""Columns of ratings that drift checks compare, the same for training ratings and new ones. Numpy only."""

from __future__ import annotations

from typing import Final

import numpy as np

from accident_reco.lifecycle.reference import Kind

KINDS: Final[dict[str, Kind]] = {
    "rating": "numeric",
    "movie_id": "numeric",
    "movie": "categorical",
    "whole_star": "categorical",
}


def build_drift_columns(movie_id: np.ndarray, rating: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of n ratings, each of shape (n,).

    `movie_id` grows with the time at which a movie was added; `movie` is profiled with its frequent values one by one
    and all others as one category; `whole_star` is 1 for whole stars, which shows the habits of the raters.
    """
    movie = np.asarray(movie_id, dtype=np.int64)
    stars = np.asarray(rating, dtype=np.float64)
    return {
        "rating": stars,
        "movie_id": movie.astype(np.float64),
        "movie": movie,
        "whole_star": (stars == np.floor(stars)).astype(np.int64),
    }
