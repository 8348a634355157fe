"""What a rating shows to a drift check: the same columns of the training ratings and of new ones. Numpy only."""

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


def rating_columns(movie_id: np.ndarray, rating: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of n ratings: how good, how late in the catalogue (ids are given in order), which movie, which habit.

    `movie` holds the frequent movies one by one and the rest as one category; `whole_star` tells raters of half stars.
    """
    movie = np.asarray(movie_id, dtype=np.int64)
    stars = np.asarray(rating, dtype=np.float64)
    return {
        "rating": stars,
        "movie_id": movie.astype(np.float64),
        "movie": movie,
        "whole_star": (stars == np.floor(stars)).astype(np.int64),
    }
