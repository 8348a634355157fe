"""What a head is, and the simplest one. Positions, not ids, everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from accident_reco.models.movies.scoring import rerank

# Surprise's BaselineOnly shrinks a user's bias as if the user had rated 15 more movies at the expected stars.
BIAS_DAMPING: Final = 15.0
# Ratings of one person that fold-in looks at: the newest. Bounds the work of one request.
MAX_HISTORY: Final = 500
# And the most that a stored user's history may hold (13 bits of a sort key in `neighbours`).
MAX_STORED_HISTORY: Final = 8_000


@dataclass(frozen=True)
class Taste:
    """What is known of a person: how far their ratings lie above others', their factors, and what they rated."""

    bias: float
    vector: np.ndarray | None
    movie: np.ndarray
    rating: np.ndarray


@dataclass(frozen=True)
class Histories:
    """What the people of many pairs rated: rows of `movie`, `rating`, those of pair `n` being `[start[n]:end[n]]`.

    The movies of one person ascend; nobody has more than `MAX_STORED_HISTORY`.
    """

    movie: np.ndarray
    rating: np.ndarray
    start: np.ndarray
    end: np.ndarray


class BaselineHead:
    """BaselineOnly: mean + user bias + movie bias, similarity by genre alone. Every other head builds on it."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.mean = float(arrays["global_mean"])
        self.user_bias = arrays["user_bias"]
        self.movie_bias = arrays["movie_bias"]
        names = len(arrays["genre_names"])
        shifts = np.arange(names, dtype=np.uint64)
        flags = (arrays["genre_bits"][:, None] >> shifts) & np.uint64(1)
        norms = np.sqrt(np.maximum(flags.sum(axis=1, keepdims=True), 1)).astype(np.float32)
        self.genres = flags.astype(np.float32) / norms

    def stored(self, user: int, movie: np.ndarray, rating: np.ndarray) -> Taste:
        """Taste of a user of the training rows; `movie`, `rating` is their history."""
        return Taste(float(self.user_bias[user]), None, movie, rating)

    def fold_in(self, movie: np.ndarray, rating: np.ndarray) -> Taste:
        """Taste of somebody else, from at least one rating."""
        surprise = rating.astype(np.float64) - self.mean - self.movie_bias[movie]
        return Taste(float(surprise.sum() / (BIAS_DAMPING + len(movie))), None, movie, rating)

    def rating(self, taste: Taste, movie: np.ndarray) -> np.ndarray:
        """Predicted stars of movies, unclipped, float64."""
        return self.mean + taste.bias + self.movie_bias[movie]

    def pair_ratings(self, user: np.ndarray, movie: np.ndarray, histories: Histories) -> np.ndarray:
        """`rating` of many users of the training rows at once, a movie each."""
        stars: np.ndarray = self.mean + self.user_bias[user] + self.movie_bias[movie]
        return stars

    def ranking(self, taste: Taste) -> np.ndarray:
        """A score of every movie, higher first; a fresh array that the caller may change."""
        return self.mean + taste.bias + self.movie_bias

    def best(self, taste: Taste, allowed: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and scores of the `count` best movies of a mask, best first, equals by position."""
        return rerank.best(self.ranking(taste), allowed, count)

    def likeness(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """How alike movies are, from -1 to 1, shape (len(one), len(other))."""
        return self.genres[one] @ self.genres[other].T
