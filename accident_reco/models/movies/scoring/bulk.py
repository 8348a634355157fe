"""Predicted stars of many rows at once, by users: for evaluation and for live performance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from accident_reco.models.movies.data.history import History
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.scoring.recommender import Recommender

MAX_ROWS: Final = 2_000_000
"""Holdout rows that are predicted together, which bounds memory: columns over all of their users' ratings."""


def predict_ratings(version: Recommender, train: Ratings, holdout: Ratings) -> np.ndarray:
    """Predicted stars (float64) of each holdout row, from the users' rows of `train`; both sorted by user."""
    stars = [np.zeros(0)]
    for start in range(0, len(holdout), MAX_ROWS):
        some = holdout.take(slice(start, start + MAX_ROWS))
        first = np.searchsorted(train.user_id, some.user_id[0], side="left")
        end = np.searchsorted(train.user_id, some.user_id[-1], side="right")
        stars.append(_predict_ratings(version, train.take(slice(first, end)), some))
    return np.concatenate(stars)


def _predict_ratings(version: Recommender, train: Ratings, holdout: Ratings) -> np.ndarray:
    rated = History(train.movie_id, train.rating, train.rated_at)
    stars = version.predict_pairs(holdout.user_id, holdout.movie_id, train.user_id, rated)
    left = np.flatnonzero(np.isnan(stars))
    for user, rows, history in iterate_users(train, holdout.take(left)):
        stars[left[rows]] = version.predict(user, holdout.movie_id[left[rows]], history)
    return stars


def iterate_users(train: Ratings, holdout: Ratings) -> Iterator[tuple[int, slice, History]]:
    """Each user of the holdout with their holdout rows and training history."""
    users, start = np.unique(holdout.user_id, return_index=True)
    ends = np.append(start[1:], len(holdout))[: len(users)]
    known_from = np.searchsorted(train.user_id, users, side="left")
    known_to = np.searchsorted(train.user_id, users, side="right")
    bounds = (users, start, ends, known_from, known_to)
    for user, first, end, known_first, known_end in zip(*(part.tolist() for part in bounds), strict=True):
        known = slice(known_first, known_end)
        yield user, slice(first, end), History(train.movie_id[known], train.rating[known], train.rated_at[known])
