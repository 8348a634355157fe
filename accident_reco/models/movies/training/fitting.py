"""Fits the candidates and keeps what they learnt as plain arrays: scikit-surprise's SVD, KNNBaseline and BaselineOnly
for ratings, implicit's ALS for rankings. Only this module imports a training library; nothing here ever pickles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accident_reco.models.movies.data.ratings import RatingScale
from accident_reco.models.movies.training.biases import damped_biases
from accident_reco.models.movies.training.similarity import Neighbours, similar_movies
from accident_reco.models.movies.training.trainset import IndexedRatings, surprise_trainset

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
    """Fit one candidate, seeded. `data` must hold at least one rating.

    Besides the `KINDS` there is `biases`: what the stars of ALS come from, without its factors.
    """
    if not len(data):
        raise ValueError(f"no ratings to fit {kind} on: lower the minimum ratings per user and movie, or add data")
    fitters: Mapping[str, Callable[..., tuple[Any, dict[str, np.ndarray], dict[str, float]]]] = {
        "svd": _fit_svd,
        "knn": _fit_knn,
        "baseline": _fit_baseline,
        "als": _fit_als,
        "biases": _fit_biases,
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


def _fit_biases(data: IndexedRatings, scale: RatingScale, options: ModelOptions) -> Any:
    return None, damped_biases(data), {}


def _fit_knn(data: IndexedRatings, scale: RatingScale, options: ModelOptions) -> Any:
    from surprise import KNNBaseline

    compact, _, _ = data.compact()

    class SparseKNNBaseline(KNNBaseline):
        """KNNBaseline whose similarities are sparse: Surprise's own are five dense movie × movie matrices."""

        def compute_similarities(self) -> Neighbours:
            return similar_movies(
                compact, self.trainset.global_mean, self.bu, self.bi, shrinkage=options.knn_shrinkage,
                keep=options.knn_neighbours, threads=options.threads,
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


def _fit_als(data: IndexedRatings, scale: RatingScale, options: ModelOptions) -> Any:
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

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
            # Stars come from the biases; the factors only rank.
            **damped_biases(data),
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
