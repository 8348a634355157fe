"""Candidate `ease`: the closed-form item model EASE^R (Steck 2019, arXiv:1905.03375), served sparse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from accident_reco.models.movies.candidates import baseline
from accident_reco.models.movies.candidates.candidate import Fit, FitOptions, MovieCandidate
from accident_reco.models.movies.candidates.inner_split import InnerSplit, choose_best, split_rows
from accident_reco.models.movies.candidates.item_weights import (
    INPUTS,
    MAX_WEIGHTS,
    ItemWeightScorer,
    encode_ratings,
    pack_weights,
    prune_weights,
    spread_weights,
)

if TYPE_CHECKING:
    from accident_reco.models.movies.candidates.trainset import IndexedRatings
    from accident_reco.models.movies.data.ratings import RatingScale

ROWS_AT_ONCE: Final = 512
"""Rows of the dense weights that exist at one time."""


@dataclass(frozen=True)
class EaseOptions:
    """What the fit chooses from, and what bounds it.

    Args:
        inputs: what a rating counts as, see `encode_ratings`.
        damping: exponents of a user's number of ratings, by which heavy users count less.
        regularization: ridge per movie.
        dense_movies: the most rated movies that have weights. The cost grows with its square in memory (8 bytes each:
            200 MB at 5,000) and with its cube in time (about ten seconds of one core at 5,000, for each fit).
        max_weights: weights kept in the bundle.
    """

    inputs: tuple[str, ...] = ("confidence", "stars", "binary")
    damping: tuple[float, ...] = (0.0, 0.25)
    regularization: tuple[float, ...] = (30.0, 60.0, 100.0, 200.0, 400.0)
    dense_movies: int = 5_000
    max_weights: int = MAX_WEIGHTS


@dataclass(frozen=True)
class EaseChoice:
    """Hyperparameters of one fit."""

    input: str
    damping: float
    regularization: float


def fit(data: IndexedRatings, scale: RatingScale, options: FitOptions) -> Fit:
    """Choose the hyperparameters on an inner split, fit all rows. Adds the weights; `pruning_loss` is the NDCG@10 that
    keeping only the greatest ones costs on the inner split.
    """
    from threadpoolctl import threadpool_limits

    own = options.of(EaseOptions)
    # One order of sums on any number of cores: the same rows give the same weights.
    with threadpool_limits(1, "blas"):
        split = split_rows(data)
        chosen = choose_options(split, own)
        whole = split.measure(score_users(split, chosen, own.dense_movies, keep=None))
        pruned = split.measure(score_users(split, chosen, own.dense_movies, keep=own.max_weights))
        return replace(fit_chosen(data, chosen, own), pruning_loss=whole - pruned)


def fit_chosen(data: IndexedRatings, chosen: EaseChoice, own: EaseOptions) -> Fit:
    """Fit with these hyperparameters."""
    from accident_reco.models.movies.candidates.biases import fit_biases

    weights = fit_weights(data, chosen, own.dense_movies, own.max_weights)
    return Fit({**fit_biases(data), **pack_weights(weights)}, describe(chosen))


def describe(chosen: EaseChoice) -> dict[str, float]:
    """Options of a fit as a bundle records them."""
    return {
        "input": float(INPUTS.index(chosen.input)),
        "damping": chosen.damping,
        "regularization": chosen.regularization,
    }


def choose_options(split: InnerSplit, own: EaseOptions) -> EaseChoice:
    """One dimension after the other: the ridge first, then what a rating and a user count."""

    def measure(one: EaseChoice) -> float:
        return split.measure(score_users(split, one, own.dense_movies, keep=None))

    start = EaseChoice(own.inputs[0], own.damping[0], own.regularization[0])
    best, _ = choose_best((replace(start, regularization=one) for one in own.regularization), measure)
    best, _ = choose_best((replace(best, input=name, damping=d) for name in own.inputs for d in own.damping), measure)
    return best


def score_users(split: InnerSplit, chosen: EaseChoice, dense_movies: int, keep: int | None) -> np.ndarray:
    """Scores of the users of an inner split, shape (users, movies); `keep`: bound of the number of weights."""
    matrix = split.known.build_matrix()
    dense = select_dense(split.known, dense_movies)
    asked = split.seen.astype(np.float64)
    asked.data = encode_ratings(asked.data, chosen.input)
    asked = asked[:, dense].tocsc()
    inputs = build_inputs(matrix, chosen.input, chosen.damping)[:, dense]
    score = np.zeros((len(split.users), matrix.shape[1]), dtype=np.float32)
    found = np.zeros((len(split.users), len(dense)))
    blocks = iterate_weights(inputs, chosen.regularization)
    if keep is not None:
        found = (asked @ prune_weights(blocks, len(dense), keep)).toarray()
    else:
        for first, block in blocks:
            found += asked[:, first : first + len(block)] @ block
    score[:, dense] = found
    return score


def fit_weights(data: IndexedRatings, chosen: EaseChoice, dense_movies: int, max_weights: int) -> Any:
    """Weights of all movies as a CSR matrix (movies, movies), empty outside the dense part."""
    import scipy.sparse as sparse

    dense = select_dense(data, dense_movies)
    inputs = build_inputs(data.build_matrix(), chosen.input, chosen.damping)[:, dense]
    kept = prune_weights(iterate_weights(inputs, chosen.regularization), len(dense), max_weights).tocoo()
    size = len(data.movie_ids)
    return sparse.csr_matrix((kept.data, (dense[kept.row], dense[kept.col])), shape=(size, size))


def select_dense(data: IndexedRatings, dense_movies: int) -> np.ndarray:
    """Positions of the most rated movies, ascending; of equals the first."""
    count = np.bincount(data.movie, minlength=len(data.movie_ids))
    return np.sort(np.argsort(-count, kind="stable")[:dense_movies])


def build_inputs(ratings: Any, method: str, damping: float) -> Any:
    """What the ratings count as, each user damped by the number of ratings; CSR (users, movies) of float64."""
    import scipy.sparse as sparse

    inputs = ratings.astype(np.float64)
    length = np.diff(inputs.indptr)
    rated = length[length > 0]
    weight = (np.maximum(length, 1) / (rated.mean() if len(rated) else 1.0)) ** -damping
    inputs.data = encode_ratings(inputs.data, method) * np.repeat(weight, length)
    return sparse.csr_matrix(inputs)


def iterate_weights(inputs: Any, regularization: float) -> Iterator[tuple[int, np.ndarray]]:
    """EASE^R's weights in blocks of rows, zero on the diagonal: B = I - P / diag(P), P = (X'X + λI)^-1.

    With fewer users than movies by way of the smaller matrix of users (Woodbury): P = (I - Z'Z) / λ with
    Z = L^-1 X, L L' = XX' + λI, so that B = Z'Z / (1 - diag(Z'Z)).
    """
    import scipy.linalg as linalg

    users, movies = inputs.shape
    if users < movies:
        system = (inputs @ inputs.T).toarray()
        system[np.diag_indices(users)] += regularization
        factor = linalg.cholesky(system, lower=True, overwrite_a=True)
        half = linalg.solve_triangular(factor, inputs.toarray(), lower=True)
        left = 1 - np.einsum("ij,ij->j", half, half)
        for first in range(0, movies, ROWS_AT_ONCE):
            yield first, _clear_diagonal(half[:, first : first + ROWS_AT_ONCE].T @ half / left, first)
        return
    system = (inputs.T @ inputs).toarray()
    system[np.diag_indices(movies)] += regularization
    factor, failed = linalg.lapack.dpotrf(system, lower=True, overwrite_a=True)
    inverse, failed_too = linalg.lapack.dpotri(factor, lower=True, overwrite_c=True)
    if failed or failed_too:
        raise ValueError(f"the ridge of {regularization:g} is too small for {movies} movies: raise it")
    diagonal = np.diag(inverse).copy()
    for first in range(0, movies, ROWS_AT_ONCE):
        block = slice(first, min(first + ROWS_AT_ONCE, movies))
        # Only the lower half is filled.
        rows = np.tril(inverse[block], first)
        rows[:, first:] += np.triu(inverse[first:, block].T, 1)
        yield first, _clear_diagonal(-rows / diagonal, first)


def _clear_diagonal(rows: np.ndarray, first: int) -> np.ndarray:
    at = np.arange(len(rows))
    rows[at, first + at] = 0
    return rows


CANDIDATE: Final = MovieCandidate(
    kind="ease",
    asset="ease_model",
    description="EASE^R: item weights in closed form that rank; predicted ratings from biases.",
    algorithm="item weights in closed form (EASE^R)",
    scorer=ItemWeightScorer,
    fit=fit,
    priority=1,
    options=EaseOptions,
    folds=baseline.BIASES,
    spread=spread_weights,
    predicts_stars=False,
)
