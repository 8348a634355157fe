"""Splits ratings into training rows and holdout: filter, frozen holdout, folds, cut by time. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from accident_reco.lifecycle.holdout import in_holdout, pairs_in_holdout
from accident_reco.models.movies.data.ratings import Ratings

FOLDS = 3
MAX_FOLDED = 5_000_000
"""Ratings up to which a cross-validation has all its folds: of more, the first alone is as exact, and its fit takes as
long as the others would."""
USERS_SALT = 0x05E2_5A17


@dataclass(frozen=True)
class SplitOptions:
    """Minimum ratings of a user and of a movie in training, and the share of the holdout."""

    min_user_ratings: int = 5
    min_movie_ratings: int = 3
    holdout_share: float = 0.2


@dataclass(frozen=True)
class Split:
    """Training and holdout rows.

    Args:
        excluded: reason → number of rows that are in neither part.
        simulated: mask of the simulated training rows.
    """

    train: Ratings
    holdout: Ratings
    excluded: dict[str, int]
    simulated: np.ndarray


def select_users(max_ratings: int, user_id: np.ndarray, stored: int) -> np.ndarray:
    """Mask of the users of a training that reads about `max_ratings` of `stored` ratings (0: all), by hash.

    A smaller bound selects a subset of the users of a larger one, so that trainings stay comparable.
    """
    return in_holdout(user_id, min(1.0, (max_ratings or stored) / max(stored, 1)), USERS_SALT)


def split(ratings: Ratings, simulated: np.ndarray, options: SplitOptions) -> Split:
    """Split ratings by hash of user and movie; simulated ones may train but are never in the holdout.

    The holdout is chosen before the filter: its pairs never depend on what else is loaded. A simulated rating of a
    holdout pair is dropped, so that no version ever trains on such a pair.
    """
    held = pairs_in_holdout(ratings.user_id, ratings.movie_id, options.holdout_share)
    rows = np.flatnonzero(~held)
    kept = rows[mask_k_core(ratings.take(rows), options.min_user_ratings, options.min_movie_ratings)]
    kept = kept[np.lexsort((ratings.movie_id[kept], ratings.user_id[kept]))]
    evaluated = np.flatnonzero(held & ~simulated)
    return Split(
        ratings.take(kept),
        ratings.take(evaluated).sort_by_user(),
        {
            "too few ratings of the user or movie": len(rows) - len(kept),
            "simulated in the holdout": int((held & simulated).sum()),
        },
        simulated[kept],
    )


def mask_k_core(ratings: Ratings, min_user: int, min_movie: int) -> np.ndarray:
    """Mask of rows whose user and movie have their minimum of ratings within the mask (a k-core)."""
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


def iterate_folds(rows: int, seed: int, count: int = FOLDS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Masks (train, test) of a cross-validation: the same rows and seed give the same folds. Only the first of them
    above `MAX_FOLDED` rows.
    """
    fold = (np.random.default_rng(seed).permutation(rows) % count).astype(np.int8)
    for number in range(count if rows <= MAX_FOLDED else 1):
        yield fold != number, fold == number


def cut_by_time(ratings: Ratings, share: float = 0.2) -> np.ndarray:
    """Mask of the newest `share` of the ratings.

    Predicting later ratings from earlier ones is what a recommender does in production; the random holdout is easier.
    For the report only: a cut that moves with the data cannot be frozen.
    """
    if not len(ratings):
        return np.zeros(0, dtype=bool)
    newest: np.ndarray = ratings.rated_at > int(np.quantile(ratings.rated_at, 1 - share))
    return newest
