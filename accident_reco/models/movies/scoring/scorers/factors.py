"""Heads that score by the product of a person's and the movies' factors: SVD for stars, ALS for rankings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from accident_reco.models.movies.scoring.scorers.base import BaselineHead, Histories, Taste

# Ridge per factor of SVD's fold-in, measured on held-out users of ml-latest-small: flat from 16 to 40, worse below.
SVD_RIDGE: Final = 20.0
# Movies that one step of the search for the best looks at: their factors fit in a core's own cache.
BLOCK: Final = 2_048
# Pairs whose factors are gathered together: some ten megabytes.
PAIRS_AT_ONCE: Final = 20_000


class FactorHead(BaselineHead):
    """SVD: biases plus the product of user and movie factors."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self.user_factors = arrays["user_factors"]
        self.movie_factors = arrays["movie_factors"]
        norms = np.linalg.norm(self.movie_factors, axis=1)
        self.inverse_norm = np.where(norms > 0, 1 / np.maximum(norms, 1e-12), 0).astype(np.float32)

    def stored(self, user: int, movie: np.ndarray, rating: np.ndarray) -> Taste:
        return Taste(float(self.user_bias[user]), self.user_factors[user], movie, rating)

    def fold_in(self, movie: np.ndarray, rating: np.ndarray) -> Taste:
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
        return Taste(bias, vector.astype(np.float32), movie, rating)

    def rating(self, taste: Taste, movie: np.ndarray) -> np.ndarray:
        assert taste.vector is not None
        return super().rating(taste, movie) + self.movie_factors[movie] @ taste.vector

    def pair_ratings(self, user: np.ndarray, movie: np.ndarray, histories: Histories) -> np.ndarray:
        stars: np.ndarray = self.mean + self.user_bias[user] + self.movie_bias[movie]
        for start in range(0, len(user), PAIRS_AT_ONCE):
            some = slice(start, start + PAIRS_AT_ONCE)
            stars[some] += np.einsum("ij,ij->i", self.user_factors[user[some]], self.movie_factors[movie[some]])
        return stars

    def ranking(self, taste: Taste) -> np.ndarray:
        assert taste.vector is not None
        return self.movie_factors @ taste.vector + self.movie_bias + (self.mean + taste.bias)

    def likeness(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        products = self.movie_factors[one] @ self.movie_factors[other].T
        return products * self.inverse_norm[one][:, None] * self.inverse_norm[other]


class AlsHead(FactorHead):
    """ALS on implicit confidence ranks; ratings come from the biases alone."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self.gram = arrays["gram"] + float(arrays["option_regularization"]) * np.eye(len(arrays["gram"]))
        self.alpha = float(arrays["option_alpha"])
        norms = np.linalg.norm(self.movie_factors, axis=1)
        self._far_first = np.argsort(-norms, kind="stable")
        self._far_norm = norms[self._far_first]
        self._far_factors = self.movie_factors[self._far_first]

    def fold_in(self, movie: np.ndarray, rating: np.ndarray) -> Taste:
        """One exact half-step of ALS (Hu, Koren, Volinsky 2008, equation 4) with the movies held still."""
        confidence = self.alpha * np.maximum(rating.astype(np.float64) - 2.0, 0.25)
        factors = self.movie_factors[movie].astype(np.float64)
        system = self.gram + (factors.T * (confidence - 1)) @ factors
        vector = np.linalg.solve(system, factors.T @ confidence)
        bias = BaselineHead.fold_in(self, movie, rating).bias
        return Taste(bias, vector.astype(np.float32), movie, rating)

    def rating(self, taste: Taste, movie: np.ndarray) -> np.ndarray:
        return BaselineHead.rating(self, taste, movie)

    def pair_ratings(self, user: np.ndarray, movie: np.ndarray, histories: Histories) -> np.ndarray:
        return BaselineHead.pair_ratings(self, user, movie, histories)

    def ranking(self, taste: Taste) -> np.ndarray:
        assert taste.vector is not None
        return self.movie_factors @ taste.vector

    def best(self, taste: Taste, allowed: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The same as over the whole ranking, from the movies that can be among the best.

        No score is above the product of the two lengths (Cauchy and Schwarz): taken longest first, the search ends
        where the rest cannot reach the best found so far. Of 60,000 movies it looks at some 5,000.
        """
        assert taste.vector is not None
        # A hair above: products of float32 are off by their last digits.
        reach = self._far_norm * float(np.linalg.norm(taste.vector)) * (1 + 1e-5)
        movie, score = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        least = -np.inf
        for start in range(0, len(reach), BLOCK):
            if reach[start] < least:
                break
            block = slice(start, start + BLOCK)
            found = self._far_factors[block] @ taste.vector
            kept = np.flatnonzero(allowed[self._far_first[block]] & (found >= least))
            movie = np.concatenate([movie, self._far_first[block][kept]])
            score = np.concatenate([score, found[kept]])
            if len(score) > count:
                least = np.partition(score, len(score) - count)[len(score) - count]
                movie, score = movie[score >= least], score[score >= least]
        order = np.lexsort((movie, -score))[:count]
        return movie[order], score[order]
