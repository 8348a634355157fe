"""Candidate `svd`: biases and factors for predicted ratings, by Surprise's SVD; and the scorer of factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from accident_reco.models.movies.candidates.candidate import Fit, FitOptions, MovieCandidate
from accident_reco.models.movies.candidates.scorer import BaselineScorer, Histories, UserState

if TYPE_CHECKING:
    from accident_reco.models.movies.candidates.trainset import IndexedRatings
    from accident_reco.models.movies.data.ratings import RatingScale

SVD_RIDGE: Final = 20.0
"""Ridge per factor of fold-in, measured on held-out users of ml-latest-small: flat from 16 to 40, worse below."""
PAIRS_AT_ONCE: Final = 20_000
"""Pairs whose factors are gathered together: some ten megabytes."""


@dataclass(frozen=True)
class SvdOptions:
    """Hyperparameters; those not named here are Surprise's own defaults."""

    factors: int = 100
    epochs: int = 20
    learning_rate: float = 0.005
    regularization: float = 0.02


class FactorScorer(BaselineScorer):
    """Biases plus the product of user and movie factors."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self.user_factors = arrays["user_factors"]
        self.movie_factors = arrays["movie_factors"]
        norms = np.linalg.norm(self.movie_factors, axis=1)
        self.inverse_norm = np.where(norms > 0, 1 / np.maximum(norms, 1e-12), 0).astype(np.float32)

    def load_user(self, user: int, movie: np.ndarray, rating: np.ndarray) -> UserState:
        return UserState(float(self.user_bias[user]), self.user_factors[user], movie, rating)

    def fold_in(self, movie: np.ndarray, rating: np.ndarray) -> UserState:
        """Ridge regression of the ratings on the movies' factors (SVD's own loss with the movies held still)."""
        bias = super().fold_in(movie, rating).bias
        residual = rating.astype(np.float64) - self.mean - bias - self.movie_bias[movie]
        factors = self.movie_factors[movie].astype(np.float64)
        if len(movie) < factors.shape[1]:
            # Fewer ratings than factors: the smaller of the two equivalent systems.
            gram = factors @ factors.T
            gram[np.diag_indices_from(gram)] += SVD_RIDGE
            vector = factors.T @ np.linalg.solve(gram, residual)
        else:
            gram = factors.T @ factors
            gram[np.diag_indices_from(gram)] += SVD_RIDGE
            vector = np.linalg.solve(gram, factors.T @ residual)
        return UserState(bias, vector.astype(np.float32), movie, rating)

    def build_unknown(self) -> UserState:
        return replace(super().build_unknown(), vector=np.zeros(self.movie_factors.shape[1], dtype=np.float32))

    def predict_ratings(self, state: UserState, movie: np.ndarray) -> np.ndarray:
        assert state.vector is not None
        return super().predict_ratings(state, movie) + self.movie_factors[movie] @ state.vector

    def predict_pairs(self, user: np.ndarray, movie: np.ndarray, histories: Histories) -> np.ndarray:
        stars: np.ndarray = self.mean + self.user_bias[user] + self.movie_bias[movie]
        for start in range(0, len(user), PAIRS_AT_ONCE):
            some = slice(start, start + PAIRS_AT_ONCE)
            stars[some] += np.einsum("ij,ij->i", self.user_factors[user[some]], self.movie_factors[movie[some]])
        return stars

    def score_all(self, state: UserState) -> np.ndarray:
        assert state.vector is not None
        return self.movie_factors @ state.vector + self.movie_bias + (self.mean + state.bias)

    def compute_similarity(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        products = self.movie_factors[one] @ self.movie_factors[other].T
        return products * self.inverse_norm[one][:, None] * self.inverse_norm[other]


def fit(data: IndexedRatings, scale: RatingScale, options: FitOptions) -> Fit:
    """Fit SVD by stochastic gradient descent, seeded."""
    from surprise import SVD

    from accident_reco.models.movies.candidates.surprise_fit import fit_surprise

    own = options.of(SvdOptions)
    used = {
        "n_factors": own.factors,
        "n_epochs": own.epochs,
        "lr_all": own.learning_rate,
        "reg_all": own.regularization,
        "random_state": options.seed,
    }
    fitted = fit_surprise(lambda compact: SVD(**used), data, scale)
    arrays = {
        **fitted.read_biases(),
        "user_factors": fitted.spread_users(fitted.algorithm.pu, np.float32),
        "movie_factors": fitted.spread_movies(fitted.algorithm.qi, np.float32),
    }
    return Fit(arrays, used, fitted.predict)


CANDIDATE: Final = MovieCandidate(
    kind="svd",
    asset="svd_model",
    description="Surprise SVD: biases and factors, for predicted ratings.",
    algorithm="matrix factorisation (Surprise SVD)",
    scorer=FactorScorer,
    fit=fit,
    priority=1,
    options=SvdOptions,
)
