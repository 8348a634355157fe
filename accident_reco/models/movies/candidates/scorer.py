"""What a scorer is, and the simplest one, which every other builds on. Positions of movies, not ids, everywhere.

A scorer works on a bundle's arrays, numpy only. `predict_ratings` predicts stars, `score_all` orders the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from accident_reco.models.movies.candidates.selection import select_best

# Surprise's BaselineOnly shrinks a user's bias as if the user had rated 15 more movies at the expected stars.
BIAS_DAMPING: Final = 15.0
MAX_HISTORY: Final = 500
"""Ratings of one user that fold-in uses: the newest. Bounds the work of one request."""
MAX_STORED_HISTORY: Final = 8_000
"""Ratings of a stored user that are used (13 bits of a sort key in `knn`)."""


@dataclass(frozen=True)
class UserState:
    """What a scorer knows of a user: bias in stars, factors (None for kinds without), and the rated movies."""

    bias: float
    vector: np.ndarray | None
    movie: np.ndarray
    rating: np.ndarray


@dataclass(frozen=True)
class Histories:
    """Histories of the users of many pairs: rows of `movie`, `rating`, those of pair `n` being `[start[n]:end[n]]`.

    The movies of one user ascend; no history is longer than `MAX_STORED_HISTORY`.
    """

    movie: np.ndarray
    rating: np.ndarray
    start: np.ndarray
    end: np.ndarray


class BaselineScorer:
    """Global mean + user bias + movie bias; movies are similar by genre alone."""

    needs_history = False
    """Whether its order needs the ratings of every user, also of those it was trained on."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.mean = float(arrays["global_mean"])
        self.user_bias = arrays["user_bias"]
        self.movie_bias = arrays["movie_bias"]
        names = len(arrays["genre_names"])
        shifts = np.arange(names, dtype=np.uint64)
        flags = (arrays["genre_bits"][:, None] >> shifts) & np.uint64(1)
        norms = np.sqrt(np.maximum(flags.sum(axis=1, keepdims=True), 1)).astype(np.float32)
        self.genres = flags.astype(np.float32) / norms

    def load_user(self, user: int, movie: np.ndarray, rating: np.ndarray) -> UserState:
        """State of the user at a position of the training rows; `movie`, `rating` is their history."""
        return UserState(float(self.user_bias[user]), None, movie, rating)

    def fold_in(self, movie: np.ndarray, rating: np.ndarray) -> UserState:
        """State of a user who is not in the model, from at least one rating."""
        deviation = rating.astype(np.float64) - self.mean - self.movie_bias[movie]
        return UserState(float(deviation.sum() / (BIAS_DAMPING + len(movie))), None, movie, rating)

    def build_unknown(self) -> UserState:
        """State of a user of whom nothing is known."""
        return UserState(0.0, None, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))

    def predict_ratings(self, state: UserState, movie: np.ndarray) -> np.ndarray:
        """Predicted stars of movies, unclipped, float64, shape of `movie`."""
        return self.mean + state.bias + self.movie_bias[movie]

    def predict_pairs(self, user: np.ndarray, movie: np.ndarray, histories: Histories) -> np.ndarray:
        """Predicted stars of many users of the training rows, one movie each; arrays of shape (n,)."""
        stars: np.ndarray = self.mean + self.user_bias[user] + self.movie_bias[movie]
        return stars

    def score_all(self, state: UserState) -> np.ndarray:
        """A score of every movie, higher first; a new array that the caller may change."""
        return self.mean + state.bias + self.movie_bias

    def select_best(self, state: UserState, allowed: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and scores of the `count` best movies of a mask, best first, equals by position."""
        return select_best(self.score_all(state), allowed, count)

    def compute_contributions(self, state: UserState, movie: np.ndarray) -> np.ndarray:
        """How much each rating speaks for each movie, shape (len(movie), ratings); zero or less where it does not.

        Here by similarity to what the user rated at least as high as on average. Kinds whose score is a sum over the
        ratings return its exact terms.
        """
        if not len(state.movie):
            return np.zeros((len(movie), 0))
        above = state.rating - state.rating.mean()
        weight = np.where(above >= 0, above + 0.5, 0)
        contributions: np.ndarray = self.compute_similarity(movie, state.movie) * weight
        return contributions

    def compute_similarity(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Similarity of movies from -1 to 1, shape (len(one), len(other))."""
        return self.genres[one] @ self.genres[other].T
