"""Which ratings train and which judge: the filter, the frozen holdout, the folds, the temporal cut. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from accident_reco.lifecycle.holdout import in_holdout, pairs_in_holdout
from accident_reco.models.movies.data.ratings import Ratings

FOLDS = 3
USERS_SALT = 0x05E2_5A17


@dataclass(frozen=True)
class SplitOptions:
    """Least ratings that a user and a movie need to take part in training, and what share is held out."""

    min_user_ratings: int = 5
    min_movie_ratings: int = 3
    holdout_share: float = 0.2


@dataclass(frozen=True)
class Split:
    """Rows that train and rows that judge, what was left out and why (counts), and which training rows are made up."""

    train: Ratings
    holdout: Ratings
    left_out: dict[str, int]
    simulated: np.ndarray


def users_taken(most: int, stored: int) -> Callable[[np.ndarray], np.ndarray]:
    """Which users take part when a training reads about `most` of `stored` ratings: by hash of the user, whole users.

    A smaller bound takes a part of the users that a larger one takes, so that trainings stay comparable.
    """
    share = min(1.0, most / max(stored, 1))
    return lambda user_id: in_holdout(user_id, share, USERS_SALT)


def split(ratings: Ratings, simulated: np.ndarray, options: SplitOptions) -> Split:
    """Divide ratings by hash of user and movie; simulated ones may train but never judge.

    The holdout is chosen before the filter looks at anything: which pairs judge never depends on what else is loaded.
    A simulated rating of a pair that the holdout owns is dropped, so that no version ever trains on such a pair.
    """
    held = pairs_in_holdout(ratings.user_id, ratings.movie_id, options.holdout_share)
    rows = np.flatnonzero(~held)
    kept = rows[enough_ratings(ratings.take(rows), options.min_user_ratings, options.min_movie_ratings)]
    kept = kept[np.lexsort((ratings.movie_id[kept], ratings.user_id[kept]))]
    judging = np.flatnonzero(held & ~simulated)
    return Split(
        ratings.take(kept),
        ratings.take(judging).ordered(),
        {
            "too few ratings of the user or movie": len(rows) - len(kept),
            "simulated in the holdout": int((held & simulated).sum()),
        },
        simulated[kept],
    )


def enough_ratings(ratings: Ratings, min_user: int, min_movie: int) -> np.ndarray:
    """Mask of rows whose user and movie keep their minimum, repeated until nothing more falls out (a k-core)."""
    _, user = np.unique(ratings.user_id, return_inverse=True)
    _, movie = np.unique(ratings.movie_id, return_inverse=True)
    keep = np.ones(len(ratings), dtype=bool)
    while True:
        users = np.bincount(user[keep], minlength=user.max(initial=0) + 1)
        movies = np.bincount(movie[keep], minlength=movie.max(initial=0) + 1)
        still = keep & (users[user] >= min_user) & (movies[movie] >= min_movie)
        if (still == keep).all():
            return keep
        keep = still


def folds(rows: int, seed: int, count: int = FOLDS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Masks (train, test) of a cross-validation: the same for every candidate that gets the same rows and seed."""
    fold = np.random.default_rng(seed).permutation(rows) % count
    for number in range(count):
        yield fold != number, fold == number


def temporal_cut(ratings: Ratings, share: float = 0.2) -> tuple[np.ndarray, int]:
    """Mask of the newest `share` of the ratings, and the time (seconds UTC) at which they begin.

    A random holdout asks what a user thinks of a movie among others of that time; this one asks what comes next, which
    is what a recommender meets. For the report only: a cut that moves with the data cannot be frozen.
    """
    if not len(ratings):
        return np.zeros(0, dtype=bool), 0
    cut = int(np.quantile(ratings.rated_at, 1 - share))
    return ratings.rated_at > cut, cut
