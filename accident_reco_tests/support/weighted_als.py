"""ALS on one machine with MLlib's objective, which multiplies the regularisation by the number of ratings."""

from __future__ import annotations

import numpy as np

from accident_reco.models.movies.candidates.als import compute_confidence
from accident_reco.models.movies.candidates.trainset import IndexedRatings


def fit_weighted_als(
    data: IndexedRatings, factors: int, iterations: int, regularization: float, alpha: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Factors of users and movies (Hu, Koren, Volinsky 2008, with the weights of Zhou et al. 2008), float64."""
    random = np.random.default_rng(seed)
    confidence = data.build_matrix().tocsr()
    confidence.data = alpha * compute_confidence(confidence.data).astype(np.float64)
    users, movies = (random.normal(size=(size, factors)) for size in confidence.shape)
    for vectors in (users, movies):
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for _ in range(iterations):
        movies = _solve(confidence.T.tocsr(), users, regularization)
        users = _solve(confidence, movies, regularization)
    return users, movies


def _solve(confidence, other: np.ndarray, regularization: float) -> np.ndarray:
    gram, identity = other.T @ other, np.eye(other.shape[1])
    found = np.zeros((confidence.shape[0], other.shape[1]))
    for row, (start, end) in enumerate(zip(confidence.indptr[:-1], confidence.indptr[1:], strict=True)):
        near, weight = other[confidence.indices[start:end]], confidence.data[start:end]
        system = gram + (near.T * (weight - 1)) @ near + regularization * (end - start) * identity
        found[row] = np.linalg.solve(system, near.T @ weight)
    return found
