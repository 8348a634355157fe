"""Evaluates a version on the holdout: error of predicted ratings and quality of the first ten. Trains nothing.

Ranking: for each user with a liked movie in the holdout (`LIKED` stars or more), all movies of the version that the
user has not rated in training are ranked; the liked ones are the hits. NDCG@10 with binary gain over the best possible
order (Järvelin and Kekäläinen 2002); recall@10 over all liked ones; coverage is the share of the catalogue's rated
movies that appears in any user's ten; novelty the mean of -log2 of the share of users who rated the movie.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from accident_reco.lifecycle.holdout import hash_keys
from accident_reco.models.movies.data.history import History
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.scoring.bulk import iterate_users, predict_ratings
from accident_reco.models.movies.scoring.recommender import Recommender

TOP = 10
LIKED = 4.0
MAX_RANKED_USERS = 5_000
"""Above this number of users the ranking metrics are computed on a fixed part of them, chosen by hash."""


@dataclass(frozen=True)
class RankedUser:
    """A user whose list is evaluated: ids of the liked holdout movies, and the training ratings."""

    user_id: int
    liked: np.ndarray
    history: History


@dataclass(frozen=True)
class Evaluation:
    """Metrics by their contract names, and what the gate compares user by user.

    Args:
        ndcg: NDCG@10 of each ranked user, shape (n,).
        ranked_user: their ids, shape (n,).
        history: their numbers of training ratings, shape (n,): the slices of the gate.
        error: predicted minus true stars of each holdout row.
    """

    metrics: dict[str, float]
    ndcg: np.ndarray
    ranked_user: np.ndarray
    history: np.ndarray
    error: np.ndarray


def evaluate(
    version: Recommender, train: Ratings, holdout: Ratings, max_users: int = MAX_RANKED_USERS, threads: int = 1
) -> Evaluation:
    """Evaluate a version as it serves: its users by their own factors, others folded in from their training rows.

    Args:
        train: the known ratings of each user, sorted by user; never the evaluated ones.
        holdout: rows to predict; sorted by user.
        threads: rank users in parallel; they change nothing but the time.
    """
    users = list_ranked_users(train, holdout, max_users)
    with limit_blas_threads():
        error = compute_rating_errors(version, train, holdout)
        # numpy releases the interpreter's lock on long arrays: KNN's lists use two cores where two are free.
        with ThreadPoolExecutor(threads) as pool:
            ranked = list(pool.map(lambda one: version.rank_unseen(one.user_id, one.history, TOP), users))
    metrics, ndcg = measure_lists(version, users, ranked)
    return Evaluation(
        {"rmse": _mean(error**2) ** 0.5, "mae": _mean(np.abs(error)), **metrics},
        ndcg,
        np.array([one.user_id for one in users], dtype=np.int64),
        np.array([len(one.history) for one in users], dtype=np.int64),
        error,
    )


def list_ranked_users(train: Ratings, holdout: Ratings, max_users: int) -> list[RankedUser]:
    """Users whose lists are evaluated: those with a liked holdout movie, see `select_ranked_users`."""
    selected = select_ranked_users(holdout, max_users)
    users = []
    for user, rows, history in iterate_users(train, holdout):
        liked = holdout.movie_id[rows][holdout.rating[rows] >= LIKED]
        if len(liked) and user in selected:
            users.append(RankedUser(user, liked, history))
    return users


def measure_lists(
    version: Recommender, users: Sequence[RankedUser], ranked: Sequence[np.ndarray]
) -> tuple[dict[str, float], np.ndarray]:
    """Ranking metrics of one list of movie ids per user, and NDCG@10 of each user."""
    ndcg, recall = [], []
    discount = 1 / np.log2(np.arange(2, TOP + 2))
    for one, first in zip(users, ranked, strict=True):
        hits = np.isin(first, one.liked)
        ideal = discount[: min(TOP, len(one.liked))].sum()
        ndcg.append(float((hits * discount[: len(first)]).sum() / ideal))
        recall.append(float(hits.sum() / len(one.liked)))
    metrics = {
        "ndcg_at_10": _mean(np.array(ndcg)),
        "recall_at_10": _mean(np.array(recall)),
        **_compute_variety(version, ranked),
    }
    return metrics, np.array(ndcg)


def compute_rating_errors(version: Recommender, train: Ratings, holdout: Ratings) -> np.ndarray:
    """Predicted minus true stars of each holdout row, from the users' training rows; both sorted by user."""
    return predict_ratings(version, train, holdout) - holdout.rating


def limit_blas_threads() -> AbstractContextManager[object]:
    """Context with one BLAS thread: small products are faster on one, a second one only waits for the first."""
    from threadpoolctl import threadpool_limits

    limited: AbstractContextManager[object] = threadpool_limits(1, "blas")
    return limited


def select_ranked_users(holdout: Ratings, max_users: int) -> set[int]:
    """Users whose lists are evaluated: all, or the `max_users` with the lowest hash, the same for every version."""
    users = np.unique(holdout.user_id)
    if len(users) > max_users:
        users = users[np.argsort(hash_keys(users), kind="stable")[:max_users]]
    return set(users.tolist())


def _compute_variety(version: Recommender, ranked: Sequence[np.ndarray]) -> dict[str, float]:
    if not ranked:
        return {"coverage": float("nan"), "novelty": float("nan")}
    rows = np.searchsorted(version.movie_id, np.concatenate(ranked))
    rated = int((version.rating_count > 0).sum())
    share = version.rating_count[rows] / max(version.training_users, 1)
    return {
        "coverage": len(np.unique(rows)) / max(rated, 1),
        "novelty": float(-np.log2(np.maximum(share, 1e-9)).mean()),
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
