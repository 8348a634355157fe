"""Candidate `ease`: the closed-form item model EASE^R (Steck 2019, arXiv:1905.03375), served sparse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from accident_reco.models.movies.candidates import baseline
from accident_reco.models.movies.candidates.candidate import Fit, FitOptions, FitSample, MovieCandidate
from accident_reco.models.movies.candidates.inner_split import TRIALS, InnerSplit, choose_best, split_rows
from accident_reco.models.movies.candidates.item_weights import (
    INPUTS,
    MAX_PRUNING_LOSS,
    WEIGHTS_KEPT,
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
        kept_weights: numbers of weights that the bundle may keep, ascending.
    """

    inputs: tuple[str, ...] = ("confidence", "stars", "binary")
    damping: tuple[float, ...] = (0.25, 0.0)
    regularization: tuple[float, ...] = (60.0, 30.0, 100.0, 200.0, 400.0)
    dense_movies: int = 5_000
    kept_weights: tuple[int, ...] = WEIGHTS_KEPT


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

    from accident_reco.models.movies.candidates.biases import fit_biases

    own = options.of(EaseOptions)
    trials: list[float] = []
    samples: tuple[FitSample, ...] = ()
    # One order of sums on any number of cores: the same rows give the same weights.
    with threadpool_limits(1, "blas"):
        chosen, keep, loss = start_options(own), own.kept_weights[0], None
        if options.tune:
            split = split_rows(data)
            chosen = choose_options(split, own)
            keep, loss = choose_kept(split, chosen, own, 0.0)
            trials, samples = split.trials, split.samples
        weights = fit_weights(data, chosen, own.dense_movies, keep)
    arrays = {**fit_biases(data), **pack_weights(weights)}
    return Fit(arrays, describe(chosen), pruning_loss=loss, history={TRIALS: trials}, samples=samples)


def choose_kept(
    split: InnerSplit, chosen: EaseChoice, own: EaseOptions, added: np.ndarray | float
) -> tuple[int, float]:
    """The smallest number of weights that loses little enough, and the NDCG@10 that it loses; else the largest number.

    Args:
        added: scores that are added to those of the weights, shape (users, movies).
    """
    whole = split.measure(score_users(split, chosen, own.dense_movies, keep=None) + added)
    for keep in own.kept_weights:
        loss = whole - split.measure(score_users(split, chosen, own.dense_movies, keep=keep) + added)
        if loss <= MAX_PRUNING_LOSS:
            break
    return keep, loss


def describe(chosen: EaseChoice) -> dict[str, float]:
    """Options of a fit as a bundle records them."""
    return {
        "input": float(INPUTS.index(chosen.input)),
        "damping": chosen.damping,
        "regularization": chosen.regularization,
    }


def start_options(own: EaseOptions) -> EaseChoice:
    """The first of each."""
    return EaseChoice(own.inputs[0], own.damping[0], own.regularization[0])


def choose_options(split: InnerSplit, own: EaseOptions) -> EaseChoice:
    """One dimension after the other: the ridge first, then what a rating and a user count."""

    def measure(one: EaseChoice) -> float:
        return split.measure(score_users(split, one, own.dense_movies, keep=None))

    best, _ = choose_best((replace(start_options(own), regularization=one) for one in own.regularization), measure)
    best, _ = choose_best((replace(best, input=name, damping=d) for name in own.inputs for d in own.damping), measure)
    return best


def score_users(split: InnerSplit, chosen: EaseChoice, dense_movies: int, keep: int | None) -> np.ndarray:
    """Scores of the users of an inner split, shape (users, movies); `keep`: bound of the number of weights."""
    dense = select_dense(split.known, dense_movies)
    histories = split.seen.astype(np.float64)
    histories.data = encode_ratings(histories.data, chosen.input)
    histories = histories[:, dense]
    inputs = build_inputs(split.known, dense, chosen.input, chosen.damping)
    solution = ClosedForm(inputs, chosen.regularization)
    score = np.zeros((len(split.users), len(split.known.movie_ids)), dtype=np.float32)
    if keep is None:
        score[:, dense] = solution.score(histories)
    else:
        score[:, dense] = (histories @ prune_weights(solution.iterate_weights(), len(dense), keep)).toarray()
    return score


def fit_weights(data: IndexedRatings, chosen: EaseChoice, dense_movies: int, max_weights: int) -> Any:
    """Weights of all movies as a CSR matrix (movies, movies), empty outside the dense part."""
    import scipy.sparse as sparse

    dense = select_dense(data, dense_movies)
    solution = ClosedForm(build_inputs(data, dense, chosen.input, chosen.damping), chosen.regularization)
    kept = prune_weights(solution.iterate_weights(), len(dense), max_weights).tocoo()
    size = len(data.movie_ids)
    return sparse.csr_matrix((kept.data, (dense[kept.row], dense[kept.col])), shape=(size, size))


def select_dense(data: IndexedRatings, dense_movies: int) -> np.ndarray:
    """Positions of the most rated movies, ascending; of equals the first."""
    count = np.bincount(data.movie, minlength=len(data.movie_ids))
    return np.sort(np.argsort(-count, kind="stable")[:dense_movies])


def build_inputs(
    data: IndexedRatings, movies: np.ndarray, method: str, damping: float, dtype: type = np.float64
) -> Any:
    """What the ratings of some movies count as, each user damped by the number of all ratings.

    Returns:
        scipy CSR matrix (users, len(movies)).
    """
    ratings = data.build_matrix()
    length = np.diff(ratings.indptr)
    rated = length[length > 0]
    weight = (np.maximum(length, 1) / (rated.mean() if len(rated) else 1.0)) ** -damping
    inputs = ratings[:, movies]
    values = encode_ratings(inputs.data, method)
    values *= np.repeat(weight, np.diff(inputs.indptr))
    inputs.data = values.astype(dtype, copy=False)
    return inputs


def compute_gram(inputs: Any) -> np.ndarray:
    """Products of the columns of a CSR matrix, dense. Blocks of rows: as one sparse matrix they would take three times
    as much memory.
    """
    columns = inputs.shape[1]
    by_column = inputs.T.tocsr()
    gram = np.empty((columns, columns), dtype=inputs.dtype)
    for first in range(0, columns, ROWS_AT_ONCE):
        block = slice(first, first + ROWS_AT_ONCE)
        gram[block] = (by_column[block] @ inputs).toarray()
    return gram


class ClosedForm:
    """EASE^R's weights B = I - P / diag(P) with P = (X'X + λI)^-1, zero on the diagonal.

    With fewer users than movies by way of the smaller matrix of users (Woodbury): P = (I - Z'Z) / λ with Z = L^-1 X and
    L L' = XX' + λI, so that B = Z'Z / (1 - diag(Z'Z)) beside the diagonal.

    Args:
        inputs: X, scipy CSR (users, movies) of float64.
    """

    def __init__(self, inputs: Any, regularization: float) -> None:
        import scipy.linalg as linalg

        users, self.movies = inputs.shape
        self._half: np.ndarray | None = None
        if users < self.movies:
            system = (inputs @ inputs.T).toarray()
            system[np.diag_indices(users)] += regularization
            factor = linalg.cholesky(system, lower=True, overwrite_a=True)
            self._half = linalg.solve_triangular(factor, inputs.toarray(), lower=True)
            self._own = np.einsum("ij,ij->j", self._half, self._half)
            self._divisor = 1 - self._own
            return
        system = compute_gram(inputs)
        system[np.diag_indices(self.movies)] += regularization
        factor, failed = linalg.lapack.dpotrf(system, lower=True, overwrite_a=True)
        inverse, failed_too = linalg.lapack.dpotri(factor, lower=True, overwrite_c=True)
        if failed or failed_too:
            raise ValueError(f"the ridge of {regularization:g} is too small for {self.movies} movies: raise it")
        # Only the lower half is filled.
        self._inverse = np.tril(inverse, -1)
        self._inverse += self._inverse.T
        self._own = np.diag(inverse).copy()
        self._divisor = -self._own
        self._inverse[np.diag_indices(self.movies)] = self._own

    def iterate_weights(self) -> Iterator[tuple[int, np.ndarray]]:
        """The weights in blocks: first row and rows, shape (rows, movies)."""
        for first in range(0, self.movies, ROWS_AT_ONCE):
            block = slice(first, first + ROWS_AT_ONCE)
            rows = (self._inverse[block] if self._half is None else self._half[:, block].T @ self._half) / self._divisor
            at = np.arange(len(rows))
            rows[at, first + at] = 0
            yield first, rows

    def score(self, histories: Any) -> np.ndarray:
        """Products of rows of inputs, CSR (n, movies), with the weights; dense (n, movies)."""
        whole = histories @ self._inverse if self._half is None else (histories @ self._half.T) @ self._half
        score: np.ndarray = (whole - histories.multiply(self._own).toarray()) / self._divisor
        return score


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
