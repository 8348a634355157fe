"""Measures a version on the holdout: error of the stars and worth of the first ten. Nothing is trained or decided here.

Ranking: for each user with a liked movie in the holdout (`LIKED` stars or more), all movies of the version that the
user has not rated in training are ranked; the liked ones are the hits. NDCG@10 with binary gain over the best possible
order (Järvelin and Kekäläinen 2002); recall@10 over all liked ones; coverage is the share of the catalogue's rated
movies that appears in anybody's ten; novelty the mean of -log2 of the share of users who rated the shown movie.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from accident_reco.lifecycle.holdout import hash_keys
from accident_reco.models.movies.data.history import History
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.scoring import rerank
from accident_reco.models.movies.scoring.recommender import Recommender

TOP = 10
LIKED = 4.0
MAX_RANKED_USERS = 5_000
"""Beyond this many users the ranking metrics are taken on a fixed, hash-chosen part of them."""


@dataclass(frozen=True)
class Measured:
    """Metrics by their contract names, and what the gate compares pair by pair.

    `error`, `error_user`: per holdout row, signed stars and its user. `ndcg`, `recall`, `ranked_user`: per ranked user.
    """

    metrics: dict[str, float]
    error: np.ndarray
    error_user: np.ndarray
    ndcg: np.ndarray
    recall: np.ndarray
    ranked_user: np.ndarray
    history: np.ndarray
    """Training ratings of each ranked user: the slices of the gate."""


def measure(
    version: Recommender, train: Ratings, holdout: Ratings, max_users: int = MAX_RANKED_USERS, threads: int = 1
) -> Measured:
    """Judge one version as it would serve: known users by their own factors, others folded in from their training rows.

    Args:
        train: what is known of each user (sorted by user); never what is judged.
        holdout: rows to predict; sorted by user.
        threads: that make lists; they change nothing but the time.
    """
    allowed = ranked_users(holdout, max_users)
    people = []
    for user, judged, history in _by_user(train, holdout):
        liked = holdout.movie_id[judged][holdout.rating[judged] >= LIKED]
        if len(liked) and user in allowed:
            people.append((user, liked, history))
    with one_blas_thread():
        error = rating_errors(version, train, holdout)
        # numpy works on long arrays without the interpreter's lock: KNN's lists take two cores where two are free.
        with ThreadPoolExecutor(threads) as pool:
            shown = list(pool.map(lambda one: best_ids(version, one[0], one[2]), people))
    ndcg, recall = [], []
    discount = 1 / np.log2(np.arange(2, TOP + 2))
    for (_, liked, _), first in zip(people, shown, strict=True):
        hits = np.isin(first, liked)
        ideal = discount[: min(TOP, len(liked))].sum()
        ndcg.append(float((hits * discount[: len(first)]).sum() / ideal))
        recall.append(float(hits.sum() / len(liked)))
    metrics = {
        "rmse": _mean(error**2) ** 0.5,
        "mae": _mean(np.abs(error)),
        "ndcg_at_10": _mean(np.array(ndcg)),
        "recall_at_10": _mean(np.array(recall)),
        **_variety(version, shown),
    }
    return Measured(
        metrics, error, holdout.user_id, np.array(ndcg), np.array(recall),
        np.array([user for user, _, _ in people], dtype=np.int64),
        np.array([len(history) for _, _, history in people], dtype=np.int64),
    )  # fmt: skip


def rating_errors(version: Recommender, train: Ratings, judged: Ratings) -> np.ndarray:
    """Predicted minus true stars of each judged row (sorted by user), people known by their training rows."""
    return predicted_ratings(version, train, judged) - judged.rating


def predicted_ratings(version: Recommender, train: Ratings, judged: Ratings) -> np.ndarray:
    """Predicted stars (float64) of each judged row, people known by their rows of `train`; both sorted by user."""
    rated = History(train.movie_id, train.rating, train.rated_at)
    stars = version.predict_pairs(judged.user_id, judged.movie_id, train.user_id, rated)
    left = np.flatnonzero(np.isnan(stars))
    for user, rows, history in _by_user(train, judged.take(left)):
        stars[left[rows]] = version.predict(user, judged.movie_id[left[rows]], history)
    return stars


def one_blas_thread() -> AbstractContextManager[object]:
    """Small products go faster on one thread: a second one only waits for the first."""
    from threadpoolctl import threadpool_limits

    limited: AbstractContextManager[object] = threadpool_limits(1, "blas")
    return limited


def ranked_users(holdout: Ratings, max_users: int) -> set[int]:
    """The users whose lists are judged: all, or the `max_users` with the lowest hash, the same for every version."""
    users = np.unique(holdout.user_id)
    if len(users) > max_users:
        users = users[np.argsort(hash_keys(users), kind="stable")[:max_users]]
    return set(users.tolist())


def best_ids(version: Recommender, user: int, history: History) -> np.ndarray:
    """Ids of the ten that the version would show first, without what the user has rated in training."""
    taste, allowed = version.taste(user, history), version.unseen(history)
    if taste is None:
        return version.movie_id[rerank.best(version.popularity, allowed, TOP)[0]]
    return version.movie_id[version.head.best(taste, allowed, TOP)[0]]


def _by_user(train: Ratings, judged: Ratings) -> Iterator[tuple[int, slice, History]]:
    """Each judged user with the rows to judge and what is known of them."""
    users, start = np.unique(judged.user_id, return_index=True)
    ends = np.append(start[1:], len(judged))[: len(users)]
    known_from = np.searchsorted(train.user_id, users, side="left")
    known_to = np.searchsorted(train.user_id, users, side="right")
    bounds = (users, start, ends, known_from, known_to)
    for user, one, two, three, four in zip(*(part.tolist() for part in bounds), strict=True):
        history = History(train.movie_id[three:four], train.rating[three:four], train.rated_at[three:four])
        yield user, slice(one, two), history


def _variety(version: Recommender, shown: list[np.ndarray]) -> dict[str, float]:
    if not shown:
        return {"coverage": float("nan"), "novelty": float("nan")}
    rows = np.searchsorted(version.movie_id, np.concatenate(shown))
    rated = int((version.rating_count > 0).sum())
    share = version.rating_count[rows] / max(len(version.user_id), 1)
    return {
        "coverage": len(np.unique(rows)) / max(rated, 1),
        "novelty": float(-np.log2(np.maximum(share, 1e-9)).mean()),
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
