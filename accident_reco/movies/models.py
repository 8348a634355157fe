"""Fits the candidates and keeps what they learnt as plain arrays: scikit-surprise's SVD, KNNBaseline and BaselineOnly
for ratings, implicit's ALS for rankings. Only this module imports a training library; nothing here ever pickles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accident_reco.movies.columns import RatingScale
from accident_reco.movies.trainset import IndexedRatings, surprise_trainset

KINDS = ("svd", "knn", "baseline", "als")


@dataclass(frozen=True)
class ModelOptions:
    """What the candidates are trained with. Numbers not named here are Surprise's own defaults."""

    seed: int = 20260101
    svd_factors: int = 100
    svd_epochs: int = 20
    knn_k: int = 40
    knn_min_k: int = 1
    knn_shrinkage: float = 100.0
    knn_neighbours: int = 800
    """Similar movies kept per movie: bounds the bundle; the rating error hardly notices (a test holds ±0.003)."""
    als_factors: int = 64
    als_iterations: int = 15
    als_regularization: float = 40.0
    als_alpha: float = 5.0
    threads: int = 2


@dataclass(frozen=True)
class FittedModel:
    """A fitted candidate: its arrays over the users and movies of its training rows, and how long the fit took.

    Every kind has `user_bias`, `movie_bias` (float64) and `global_mean`, from which ratings start. `svd` and `als` add
    `user_factors`, `movie_factors` (float32); `knn` adds the similar movies of each as `neighbour_start`, `neighbour`,
    `neighbour_similarity`; `als` adds `gram` (factors' products, for folding in).
    """

    kind: str
    user_ids: np.ndarray
    movie_ids: np.ndarray
    arrays: dict[str, np.ndarray]
    options: dict[str, float]
    fit_seconds: float
    surprise: Any = field(default=None, compare=False, repr=False)
    """Surprise's own fitted object, for parity checks in the process that fitted it. Never written."""


def fit(kind: str, data: IndexedRatings, scale: RatingScale, options: ModelOptions) -> FittedModel:
    """Fit one candidate, seeded. `data` must hold at least one rating."""
    if not len(data):
        raise ValueError(f"no ratings to fit {kind} on: lower the minimum ratings per user and movie, or add data")
    fitters: Mapping[str, Callable[..., tuple[Any, dict[str, np.ndarray], dict[str, float]]]] = {
        "svd": _fit_svd,
        "knn": _fit_knn,
        "baseline": _fit_baseline,
        "als": _fit_als,
    }
    started = time.perf_counter()
    algorithm, arrays, used = fitters[kind](data, scale, options)
    return FittedModel(kind, data.user_ids, data.movie_ids, arrays, used, time.perf_counter() - started, algorithm)


def _fitted(algorithm: Any, data: IndexedRatings, scale: RatingScale) -> tuple[IndexedRatings, np.ndarray, np.ndarray]:
    """Fit one of Surprise's algorithms on the renumbered ratings, so that it draws the random numbers that it draws on
    a training set of its own; gives them with the positions of their users and movies in `data`.
    """
    compact, users, movies = data.compact()
    algorithm.fit(surprise_trainset(compact, scale))
    return compact, users, movies


def _spread(values: np.ndarray, places: np.ndarray, size: int, kind: type = np.float64) -> np.ndarray:
    """Values at their places among `size`, zero elsewhere: what Surprise adds for the unknown."""
    spread = np.zeros((size, *np.shape(values)[1:]), dtype=kind)
    spread[places] = values
    return spread


def _biases(algorithm: Any, data: IndexedRatings, users: np.ndarray, movies: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "user_bias": _spread(algorithm.bu, users, len(data.user_ids)),
        "movie_bias": _spread(algorithm.bi, movies, len(data.movie_ids)),
        "global_mean": np.array(algorithm.trainset.global_mean, dtype=np.float64),
    }


def _fit_svd(data: IndexedRatings, scale: RatingScale, options: ModelOptions) -> Any:
    from surprise import SVD

    algorithm = SVD(n_factors=options.svd_factors, n_epochs=options.svd_epochs, random_state=options.seed)
    _, users, movies = _fitted(algorithm, data, scale)
    arrays = {
        **_biases(algorithm, data, users, movies),
        "user_factors": _spread(algorithm.pu, users, len(data.user_ids), np.float32),
        "movie_factors": _spread(algorithm.qi, movies, len(data.movie_ids), np.float32),
    }
    used = {"n_factors": options.svd_factors, "n_epochs": options.svd_epochs, "random_state": options.seed}
    return algorithm, arrays, used


def _fit_baseline(data: IndexedRatings, scale: RatingScale, options: ModelOptions) -> Any:
    from surprise import BaselineOnly

    algorithm = BaselineOnly(verbose=False)
    _, users, movies = _fitted(algorithm, data, scale)
    return algorithm, _biases(algorithm, data, users, movies), {"reg_u": 15, "reg_i": 10, "n_epochs": 10}


def _fit_knn(data: IndexedRatings, scale: RatingScale, options: ModelOptions) -> Any:
    from surprise import KNNBaseline

    compact, _, _ = data.compact()

    class SparseKNNBaseline(KNNBaseline):
        """KNNBaseline whose similarities are sparse: Surprise's own are five dense movie × movie matrices."""

        def compute_similarities(self) -> Neighbours:
            return similar_movies(
                compact, self.trainset.global_mean, self.bu, self.bi, shrinkage=options.knn_shrinkage,
                keep=options.knn_neighbours,
            )  # fmt: skip

    algorithm = SparseKNNBaseline(
        k=options.knn_k,
        min_k=options.knn_min_k,
        verbose=False,
        sim_options={"name": "pearson_baseline", "user_based": False, "shrinkage": options.knn_shrinkage},
    )
    _, users, movies = _fitted(algorithm, data, scale)
    similar: Neighbours = algorithm.sim.renumbered(movies, len(data.movie_ids))
    arrays = {
        **_biases(algorithm, data, users, movies),
        "neighbour_start": similar.start,
        "neighbour": similar.movie,
        "neighbour_similarity": similar.similarity,
    }
    return algorithm, arrays, {"k": options.knn_k, "min_k": options.knn_min_k, "neighbours": options.knn_neighbours}


@dataclass(frozen=True)
class Neighbours:
    """Similarities kept per movie: those of movie `m` are `[start[m]:start[m+1]]`, ascending by movie. Symmetric."""

    start: np.ndarray
    movie: np.ndarray
    similarity: np.ndarray

    def __getitem__(self, pair: tuple[int, int]) -> float:
        """Similarity of two movies, as Surprise looks it up; 0 where the pair was not kept, 1 on the diagonal."""
        one, other = pair
        if one == other:
            return 1.0
        row = self.movie[self.start[one] : self.start[one + 1]]
        at = int(np.searchsorted(row, other))
        return float(self.similarity[self.start[one] + at]) if at < len(row) and row[at] == other else 0.0

    @classmethod
    def of(cls, table: Any) -> Neighbours:
        """From a scipy CSR table."""
        table.sort_indices()
        return cls(table.indptr.astype(np.int64), table.indices.astype(np.int32), table.data)

    def renumbered(self, places: np.ndarray, size: int) -> Neighbours:
        """The same similarities, movie `m` being called `places[m]` of `size`."""
        import scipy.sparse as sparse

        row = np.repeat(places, np.diff(self.start))
        return Neighbours.of(sparse.csr_matrix((self.similarity, (row, places[self.movie])), shape=(size, size)))


def similar_movies(
    data: IndexedRatings,
    mean: float,
    user_bias: np.ndarray,
    movie_bias: np.ndarray,
    *,
    shrinkage: float,
    keep: int,
    block_cells: int = 4_000_000,
) -> Neighbours:
    """Surprise's `pearson_baseline` between movies (Koren 2010, section 2.2), by sparse products over blocks of rows.

    Only positive similarities count in KNNBaseline, so only these are kept: a pair stays when it is among the `keep`
    best of either movie. Values are float32, which is what the model then *is*: Surprise predicts from these.
    """
    import scipy.sparse as sparse

    movies = len(data.movie_ids)
    residual = data.rating.astype(np.float64) - mean - user_bias[data.user] - movie_bias[data.movie]
    shape = (movies, len(data.user_ids))

    def by_movie(values: np.ndarray) -> Any:
        return sparse.csr_matrix((values, (data.movie, data.user)), shape=shape)

    centred, squared, rated = by_movie(residual), by_movie(residual**2), by_movie(np.ones(len(data)))
    rows_at_once = max(1, block_cells // max(movies, 1))
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for first in range(0, movies, rows_at_once):
        block = slice(first, min(first + rows_at_once, movies))
        # Four products over the same places: their entries come in the same order.
        both = rated[block] @ rated.T
        norms = (squared[block] @ rated.T).data * (rated[block] @ squared.T).data
        with np.errstate(divide="ignore", invalid="ignore"):
            value = (centred[block] @ centred.T).data / np.sqrt(norms)
        value *= (both.data - 1) / (both.data - 1 + shrinkage)
        row = np.repeat(np.arange(first, block.stop), np.diff(both.indptr))
        chosen = _best_of_rows(both.indptr, np.where((both.data < 2) | (both.indices == row), 0, value), keep)
        kept.append((row[chosen], both.indices[chosen], value[chosen].astype(np.float32)))
    row, column, value = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    best = sparse.csr_matrix((value, (row, column)), shape=(movies, movies))
    return Neighbours.of(best.maximum(best.T).tocsr())


def _best_of_rows(start: np.ndarray, value: np.ndarray, keep: int) -> np.ndarray:
    """Positions of the `keep` greatest positive values of each CSR row."""
    positive = value > 0
    chosen = []
    for row in range(len(start) - 1):
        at = np.flatnonzero(positive[start[row] : start[row + 1]]) + start[row]
        if len(at) > keep:
            at = at[np.argpartition(value[at], len(at) - keep)[len(at) - keep :]]
        chosen.append(at)
    return np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64)


def _fit_als(data: IndexedRatings, scale: RatingScale, options: ModelOptions) -> Any:
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    # Ratings start from the same biases as BaselineOnly's; the factors only rank.
    _, arrays, _ = _fit_baseline(data, scale, options)
    taste = data.matrix()
    taste.data = confidence(taste.data)
    # implicit runs its own threads and asks that BLAS runs none beside them.
    with threadpool_limits(1, "blas"):
        als = AlternatingLeastSquares(
            factors=options.als_factors,
            regularization=options.als_regularization,
            alpha=options.als_alpha,
            iterations=options.als_iterations,
            random_state=options.seed,
            num_threads=options.threads,
        )
        als.fit(taste, show_progress=False)
    factors = np.asarray(als.item_factors, dtype=np.float32)
    return (
        None,
        {
            **arrays,
            "user_factors": np.asarray(als.user_factors, dtype=np.float32),
            "movie_factors": factors,
            "gram": (factors.astype(np.float64).T @ factors).astype(np.float64),
        },
        {
            "factors": options.als_factors,
            "iterations": options.als_iterations,
            "regularization": options.als_regularization,
            "alpha": options.als_alpha,
            "random_state": options.seed,
        },
    )


def confidence(rating: np.ndarray) -> np.ndarray:
    """How sure a rating makes us that the movie was to the user's taste: 3 at five stars, a trace below two."""
    return np.maximum(rating - np.float32(2.0), np.float32(0.25)).astype(np.float32)
