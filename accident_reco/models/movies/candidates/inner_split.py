"""Splits training rows once more, so that a fit chooses its hyperparameters without the frozen holdout."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from accident_reco.lifecycle.holdout import hash_keys, pairs_in_holdout
from accident_reco.models.movies.candidates.candidate import FitSample, list_samples

if TYPE_CHECKING:
    from accident_reco.models.movies.candidates.trainset import IndexedRatings

SHARE: Final = 0.2
SALT: Final = 0x1A2B_3C4D
"""Unlike that of the frozen holdout: the inner split must not depend on it."""
MAX_RATINGS: Final = 2_000_000
"""Ratings that hyperparameters are chosen on: a dozen fits and more, which on all of 26 million take hours. What suits
that many suits more, since a penalty does not grow with the number of users."""
MAX_USERS: Final = 2_000
"""Users whose lists compare hyperparameters; chosen by hash."""
MAX_SCORES: Final = 30_000_000
"""Scores of these users over all movies, which bounds memory: fewer users where movies are many."""
TOP: Final = 10
TRIALS: Final = "trial_ndcg_at_10"
"""Name of the trials' metric in the history of a fit."""
LIKED: Final = 4.0

OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True)
class InnerSplit:
    """Known and held-out training rows.

    Args:
        known: rows to fit on, with the positions of all training rows.
        users: positions of the users whose lists are compared, shape (n,).
        seen: their known movies, liked: their held-out movies of 4 stars or more; CSR (n, movies).
        trials: what `measure` returned so far, in order.
        samples: that a part of the training rows was split; empty where all were.
    """

    known: IndexedRatings
    users: np.ndarray
    seen: Any
    liked: Any
    trials: list[float] = field(default_factory=list)
    samples: tuple[FitSample, ...] = ()

    def measure(self, score: np.ndarray) -> float:
        """Mean NDCG@10 of the users by their scores, shape (n, movies); 0 without users. Recorded as a trial."""
        self.trials.append(float(self.measure_users(score).mean()) if len(self.users) else 0.0)
        return self.trials[-1]

    def measure_users(self, score: np.ndarray) -> np.ndarray:
        """NDCG@10 of each user, with binary gain, as `training.metrics` defines it; shape (n,)."""
        unseen = np.array(score, dtype=np.float32)
        unseen[self.seen.nonzero()] = -np.inf
        top = min(TOP, unseen.shape[1])
        first = np.argpartition(-unseen, top - 1, axis=1)[:, :top]
        order = np.argsort(-np.take_along_axis(unseen, first, axis=1), axis=1, kind="stable")
        first = np.take_along_axis(first, order, axis=1)
        row = np.repeat(np.arange(len(first)), top)
        hits = np.asarray(self.liked[row, first.ravel()]).reshape(first.shape)
        discount = 1 / np.log2(np.arange(2, TOP + 2))
        ideal = np.cumsum(discount)[np.minimum(TOP, np.diff(self.liked.indptr)) - 1]
        gain: np.ndarray = (hits * discount[:top]).sum(axis=1) / ideal
        return gain


def split_rows(everything: IndexedRatings) -> InnerSplit:
    """Split about `MAX_RATINGS` rows by hash of user and movie; the same rows give the same split."""
    import scipy.sparse as sparse

    data = everything.sample_users(MAX_RATINGS)
    samples = list_samples("hyperparameters", len(data), len(everything))
    held = pairs_in_holdout(data.user_ids[data.user], data.movie_ids[data.movie], SHARE, SALT)
    known, liked = data.take(~held), data.take(held & (data.rating >= LIKED))
    shape = (len(data.user_ids), len(data.movie_ids))
    seen = known.build_matrix()
    users = np.intersect1d(liked.user, known.user)
    most = min(MAX_USERS, max(1, MAX_SCORES // max(shape[1], 1)))
    if len(users) > most:
        users = np.sort(users[np.argsort(hash_keys(data.user_ids[users], SALT), kind="stable")[:most]])
    relevant = sparse.csr_matrix((np.ones(len(liked)), (liked.user, liked.movie)), shape=shape)
    return InnerSplit(known, users, seen[users], relevant[users], samples=samples)


def choose_best(options: Iterable[OptionsT], measure: Callable[[OptionsT], float]) -> tuple[OptionsT, float]:
    """The options with the highest value and that value; of equals the first. Raises ValueError for none."""
    measured = [(measure(one), one) for one in options]
    if not measured:
        raise ValueError("no options to choose from")
    value, best = max(measured, key=lambda pair: pair[0])
    return best, value
