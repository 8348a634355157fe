"""Candidate `slim`: sparse item weights by an elastic net per movie (SLIM, Ning and Karypis 2011).

The weights are sparse and not negative by themselves. Where EASE^R inverts a matrix, time here grows with the number of
movies alone, so that a larger catalogue fits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from accident_reco.models.movies.candidates import baseline
from accident_reco.models.movies.candidates.candidate import Fit, FitOptions, FitSample, MovieCandidate
from accident_reco.models.movies.candidates.ease import build_inputs, compute_gram, select_dense
from accident_reco.models.movies.candidates.inner_split import TRIALS, InnerSplit, choose_best, split_rows
from accident_reco.models.movies.candidates.item_weights import (
    INPUTS,
    ItemWeightScorer,
    encode_ratings,
    pack_weights,
    spread_weights,
)

if TYPE_CHECKING:
    from accident_reco.models.movies.candidates.trainset import IndexedRatings
    from accident_reco.models.movies.data.ratings import RatingScale

MOVIES_AT_ONCE: Final = 128
SWEEPS: Final = 25
"""Passes of coordinate descent at most; on ml-latest-small about fifteen suffice."""
SETTLED: Final = 1e-4
"""Largest change of a weight in a pass at which a group of movies is finished."""


@dataclass(frozen=True)
class SlimOptions:
    """What the fit chooses from, and what bounds it.

    Args:
        input, damping: as in `EaseOptions`.
        penalties: pairs of the penalties on the sum and on half the sum of squares of a movie's weights.
        neighbours: most similar movies by cosine that may have a weight for a movie.
        movies: the most rated movies that have weights: 4 bytes for each pair of them, 400 MB at 10,000.
    """

    input: str = "confidence"
    damping: float = 0.25
    penalties: tuple[tuple[float, float], ...] = ((0.3, 40.0), (0.3, 80.0), (1.0, 20.0))
    neighbours: int = 100
    movies: int = 10_000


def fit(data: IndexedRatings, scale: RatingScale, options: FitOptions) -> Fit:
    """Choose the penalties on an inner split, fit all rows."""
    from threadpoolctl import threadpool_limits

    from accident_reco.models.movies.candidates.biases import fit_biases

    own = options.of(SlimOptions)
    trials: list[float] = []
    samples: tuple[FitSample, ...] = ()
    with threadpool_limits(1, "blas"):
        if options.tune:
            split = split_rows(data)
            own, trials, samples = choose_options(split, own), split.trials, split.samples
        weights = fit_weights(data, own)
    used = {
        "input": float(INPUTS.index(own.input)),
        "damping": own.damping,
        "l1": own.penalties[0][0],
        "l2": own.penalties[0][1],
        "neighbours": float(own.neighbours),
    }
    return Fit({**fit_biases(data), **pack_weights(weights)}, used, history={TRIALS: trials}, samples=samples)


def choose_options(split: InnerSplit, own: SlimOptions) -> SlimOptions:
    """The options with the one pair of penalties that is best on the inner split."""
    each = [replace(own, penalties=(one,)) for one in own.penalties]
    if len(each) == 1:
        return each[0]
    return choose_best(each, lambda one: split.measure(score_users(split, one)))[0]


def score_users(split: InnerSplit, own: SlimOptions) -> np.ndarray:
    """Scores of the users of an inner split, shape (users, movies)."""
    histories = split.seen.astype(np.float32)
    histories.data = encode_ratings(histories.data, own.input).astype(np.float32)
    scores: np.ndarray = (histories @ fit_weights(split.known, own)).toarray()
    return scores


def fit_weights(data: IndexedRatings, own: SlimOptions) -> Any:
    """Weights of all movies with the first pair of penalties, as a CSR matrix (movies, movies)."""
    import scipy.sparse as sparse

    chosen = select_dense(data, own.movies)
    gram = compute_gram(build_inputs(data, chosen, own.input, own.damping, np.float32))
    rows, columns, values = [], [], []
    for first in range(0, len(chosen), MOVIES_AT_ONCE):
        movie = np.arange(first, min(first + MOVIES_AT_ONCE, len(chosen)))
        near = select_neighbours(gram, movie, own.neighbours)
        weight = descend(gram, movie, near, *own.penalties[0])
        at = np.nonzero(weight)
        rows.append(near[at])
        columns.append(movie[at[0]])
        values.append(weight[at])
    size = len(data.movie_ids)
    where = (chosen[np.concatenate(rows)], chosen[np.concatenate(columns)])
    return sparse.csr_matrix((np.concatenate(values), where), shape=(size, size))


def select_neighbours(gram: np.ndarray, movie: np.ndarray, count: int) -> np.ndarray:
    """Positions of the `count` movies with the greatest cosine to each movie, never itself; shape (movies, count)."""
    norm = np.sqrt(np.maximum(np.diag(gram), 1e-12))
    cosine = gram[movie] / norm
    cosine[np.arange(len(movie)), movie] = -1
    count = min(count, gram.shape[1] - 1)
    return np.argpartition(-cosine, max(count - 1, 0), axis=1)[:, :count]


def descend(gram: np.ndarray, movie: np.ndarray, near: np.ndarray, l1: float, l2: float) -> np.ndarray:
    """Weights of the neighbours of each movie, shape of `near`, by coordinate descent on all these movies at once.

    Minimises |x - N w|² / 2 + l2 |w|² / 2 + l1 Σ w over w >= 0 for the column x of a movie and N of its neighbours.
    """
    among = gram[near[:, :, None], near[:, None, :]]
    target = np.take_along_axis(gram[movie], near, axis=1)
    own = np.diag(gram)[near]
    weight = np.zeros(near.shape, dtype=np.float32)
    for _ in range(SWEEPS):
        change = 0.0
        for nth in range(near.shape[1]):
            left = target[:, nth] - np.einsum("ij,ij->i", among[:, nth], weight) + own[:, nth] * weight[:, nth]
            moved = np.maximum(left - np.float32(l1), 0) / (own[:, nth] + np.float32(l2))
            change = max(change, float(np.abs(moved - weight[:, nth]).max(initial=0)))
            weight[:, nth] = moved
        if change < SETTLED:
            break
    return weight


CANDIDATE: Final = MovieCandidate(
    kind="slim",
    asset="slim_model",
    description="SLIM: sparse item weights by an elastic net per movie, which rank; predicted ratings from biases.",
    algorithm="sparse item weights by an elastic net per movie (SLIM)",
    scorer=ItemWeightScorer,
    fit=fit,
    priority=1,
    options=SlimOptions,
    folds=baseline.BIASES,
    spread=spread_weights,
    predicts_stars=False,
)
