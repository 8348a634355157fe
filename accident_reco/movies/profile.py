"""What ratings look like, column by column: one function for a version's reference and for a window of new ratings."""

from __future__ import annotations

from typing import Any

import numpy as np

from accident_reco.lifecycle.reference import Kind, build_reference
from accident_reco.movies.columns import Ratings
from accident_reco.movies.recommender import Recommender

KINDS: dict[str, Kind] = {
    "rating": "numeric",
    "genre": "categorical",
    "movie_year": "numeric",
    "movie_ratings": "numeric",
    "user_known": "categorical",
    "hour": "numeric",
}
MAX_ROWS = 500_000
"""A profile of more ratings is taken from users chosen at even steps, whole users at a time."""


def rating_columns(ratings: Ratings, version: Recommender) -> dict[str, np.ndarray]:
    """The columns that drift is watched in (see `KINDS`), shape (n,) each; unknown is -1.

    `genre` is the position of the movie's first genre, `movie_ratings` the log2 of how often the movie was rated in
    training, `user_known` whether the version was trained on the user, `hour` the hour of the day in UTC.
    """
    at = np.minimum(np.searchsorted(version.movie_id, ratings.movie_id), max(len(version.movie_id) - 1, 0))
    known = version.movie_id[at] == ratings.movie_id if len(version.movie_id) else np.zeros(len(ratings), dtype=bool)
    bits = version.genre_bits[at]
    first = np.full(len(ratings), -1, dtype=np.int16)
    for number in range(len(version.genre_names) - 1, -1, -1):
        first[(bits >> np.uint64(number)) & np.uint64(1) != 0] = number
    return {
        "rating": ratings.rating.astype(np.float64),
        "genre": np.where(known, first, -1).astype(np.int16),
        "movie_year": np.where(known, version.years[at], -1).astype(np.int16),
        "movie_ratings": np.where(known, np.log2(1.0 + version.rating_count[at]), np.nan),
        "user_known": np.isin(ratings.user_id, version.user_id).astype(np.int16),
        "hour": (ratings.rated_at // 3600 % 24).astype(np.int16),
    }


def reference(train: Ratings, version: Recommender, data_source: str) -> dict[str, Any]:
    """The version's `reference.json`."""
    if len(train) > MAX_ROWS:
        users = np.unique(train.user_id)
        step = int(np.ceil(len(train) / MAX_ROWS))
        train = train.take(np.isin(train.user_id, users[::step]))
    return build_reference(
        rating_columns(train, version),
        KINDS,
        groups=train.user_id,
        label=train.rating.astype(np.float64),
        label_kind="numeric",
        model="movies",
        data_source=data_source,
    )
