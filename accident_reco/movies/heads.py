"""Scores movies for one person from a bundle's arrays, numpy only: one head per kind of model.

`taste` is what a head knows of a person: taken from the bundle (a user it was trained on) or folded in from ratings.
`rating` predicts stars, `ranking` orders the catalogue; SVD, KNN and the baseline order by predicted stars, ALS by a
score of its own. Positions, not ids, everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

# Surprise's BaselineOnly shrinks a user's bias as if the user had rated 15 more movies at the expected stars.
BIAS_DAMPING = 15.0
# Ratings of one person that fold-in looks at: the newest. Bounds the work of one request.
MAX_HISTORY = 500
# And the most that a stored user's history may hold (13 bits of a sort key below).
MAX_STORED_HISTORY = 8_000
# Ridge per factor of SVD's fold-in, measured on held-out users of ml-latest-small: flat from 16 to 40, worse below.
SVD_RIDGE = 20.0
_ONE_AS_BITS = np.float32(1).view(np.uint32)


@dataclass(frozen=True)
class Taste:
    """What is known of a person: how far their ratings lie above others', their factors, and what they rated."""

    bias: float
    vector: np.ndarray | None
    movie: np.ndarray
    rating: np.ndarray


class Head(Protocol):
    """What every kind of model can do."""

    def stored(self, user: int, movie: np.ndarray, rating: np.ndarray) -> Taste:
        """Taste of a user of the training rows; `movie`, `rating` is their history."""

    def fold_in(self, movie: np.ndarray, rating: np.ndarray) -> Taste:
        """Taste of somebody else, from at least one rating."""

    def rating(self, taste: Taste, movie: np.ndarray) -> np.ndarray:
        """Predicted stars of movies, unclipped, float64."""

    def ranking(self, taste: Taste) -> np.ndarray:
        """A score of every movie, higher first; a fresh array that the caller may change."""

    def likeness(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """How alike movies are, from -1 to 1, shape (len(one), len(other))."""


class BaselineHead:
    """BaselineOnly: mean + user bias + movie bias. Similarity can only come from genres."""

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
        return Taste(float(self.user_bias[user]), None, movie, rating)

    def fold_in(self, movie: np.ndarray, rating: np.ndarray) -> Taste:
        surprise = rating.astype(np.float64) - self.mean - self.movie_bias[movie]
        return Taste(float(surprise.sum() / (BIAS_DAMPING + len(movie))), None, movie, rating)

    def rating(self, taste: Taste, movie: np.ndarray) -> np.ndarray:
        return self.mean + taste.bias + self.movie_bias[movie]

    def ranking(self, taste: Taste) -> np.ndarray:
        return self.mean + taste.bias + self.movie_bias

    def likeness(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return self.genres[one] @ self.genres[other].T


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

    def ranking(self, taste: Taste) -> np.ndarray:
        assert taste.vector is not None
        return self.movie_factors @ taste.vector


class NeighbourHead(BaselineHead):
    """KNNBaseline over similar movies: what the person rated among the `k` most similar moves the baseline."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self.start = arrays["neighbour_start"]
        self.neighbour = arrays["neighbour"]
        self.similarity = arrays["neighbour_similarity"]
        self.k = int(arrays["option_k"])
        self.min_k = int(arrays["option_min_k"])

    def stored(self, user: int, movie: np.ndarray, rating: np.ndarray) -> Taste:
        return self._ordered(float(self.user_bias[user]), movie, rating)

    def fold_in(self, movie: np.ndarray, rating: np.ndarray) -> Taste:
        return self._ordered(super().fold_in(movie, rating).bias, movie, rating)

    @staticmethod
    def _ordered(bias: float, movie: np.ndarray, rating: np.ndarray) -> Taste:
        order = np.argsort(movie, kind="stable")
        return Taste(bias, None, movie[order], rating[order])

    def rating(self, taste: Taste, movie: np.ndarray) -> np.ndarray:
        if len(movie) >= len(taste.movie):
            return self.ranking(taste)[movie]
        # Few movies are asked for: from their rows, the neighbours that the person has rated.
        asked = np.unique(movie)
        place = np.full(len(self.movie_bias), -1, dtype=np.int64)
        place[taste.movie] = np.arange(len(taste.movie))
        target, other, nearness = self._rows(asked)
        nth = place[other]
        rated = nth >= 0
        seen = place[asked] >= 0
        return self._stars(taste, target[rated], nth[rated], nearness[rated], asked[seen], place[asked[seen]])[movie]

    def ranking(self, taste: Taste) -> np.ndarray:
        # Similarity is symmetric: the rows of the history hold every movie that it says something about.
        _, target, nearness = self._rows(taste.movie)
        nth = np.repeat(np.arange(len(taste.movie)), self._lengths(taste.movie))
        return self._stars(taste, target, nth, nearness, taste.movie, np.arange(len(taste.movie)))

    def _lengths(self, rows: np.ndarray) -> np.ndarray:
        return self.start[rows + 1] - self.start[rows]

    def _rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All similarities of some movies: (movie, other movie, similarity)."""
        lengths = self._lengths(rows)
        offset = np.repeat(self.start[rows] - (np.cumsum(lengths) - lengths), lengths)
        at = np.arange(len(offset)) + offset
        return np.repeat(rows, lengths), self.neighbour[at], self.similarity[at]

    def _stars(
        self,
        taste: Taste,
        target: np.ndarray,
        nth: np.ndarray,
        nearness: np.ndarray,
        own: np.ndarray,
        own_nth: np.ndarray,
    ) -> np.ndarray:
        """Surprise's formula: the `k` nearest rated neighbours of each target move its baseline.

        Args:
            target, nth, nearness: a movie, which rating of the history it is near to, and how near.
            own, own_nth: rated movies that are targets themselves: as in Surprise, similarity 1 stands on the diagonal.
        """
        target = np.concatenate([target, own])
        nth = np.concatenate([nth, own_nth])
        nearness = np.concatenate([nearness, np.ones(len(own), dtype=np.float32)])
        movies = len(self.movie_bias)
        crowded = (np.bincount(target, minlength=movies) > self.k)[target]
        if crowded.any():
            kept = self._nearest(target[crowded], nth[crowded], nearness[crowded])
            few = ~crowded
            target = np.concatenate([target[few], kept[0]])
            nth = np.concatenate([nth[few], kept[1]])
            nearness = np.concatenate([nearness[few], kept[2]])
        similarity = nearness.astype(np.float64)
        deviation = taste.rating.astype(np.float64) - self.mean - taste.bias - self.movie_bias[taste.movie]
        weight = np.bincount(target, weights=similarity, minlength=movies)
        moved = np.bincount(target, weights=similarity * deviation[nth], minlength=movies)
        enough = np.bincount(target, minlength=movies) >= max(self.min_k, 1)
        stars: np.ndarray = self.mean + taste.bias + self.movie_bias
        return stars + np.where(enough, moved / np.where(weight > 0, weight, 1), 0)

    def _nearest(self, target: np.ndarray, nth: np.ndarray, nearness: np.ndarray) -> tuple[np.ndarray, ...]:
        """The `k` nearest of each target, equals in the order of the history, as Surprise leaves them.

        One sort does it: positive floats order like their bits, so all three fit in one integer.
        """
        farness = (_ONE_AS_BITS - nearness.view(np.uint32)).astype(np.uint64)
        key = np.sort((target.astype(np.uint64) << np.uint64(43)) | (farness << np.uint64(13)) | nth.astype(np.uint64))
        target = (key >> np.uint64(43)).astype(np.int64)
        first = np.flatnonzero(np.concatenate([[True], target[1:] != target[:-1]]))
        place = np.arange(len(target)) - np.repeat(first, np.diff(np.append(first, len(target))))
        key, target = key[place < self.k], target[place < self.k]
        farness = (key >> np.uint64(13)) & np.uint64((1 << 30) - 1)
        nearness = (_ONE_AS_BITS - farness.astype(np.uint32)).view(np.float32)
        return target, (key & np.uint64((1 << 13) - 1)).astype(np.int64), nearness

    def likeness(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        table = np.zeros((len(one), len(self.movie_bias)), dtype=np.float32)
        for row, movie in enumerate(one.tolist()):
            kept = slice(self.start[movie], self.start[movie + 1])
            table[row, self.neighbour[kept]] = self.similarity[kept]
            table[row, movie] = 1
        return table[:, other]


HEADS: dict[str, type[BaselineHead]] = {
    "svd": FactorHead,
    "knn": NeighbourHead,
    "baseline": BaselineHead,
    "als": AlsHead,
}


def head_of(arrays: Mapping[str, np.ndarray]) -> BaselineHead:
    """The head for a bundle's arrays. Raises ValueError for a kind that this code does not know."""
    kind = str(arrays["kind"])
    if kind not in HEADS:
        raise ValueError(f"bundle of kind {kind!r}: this server knows {sorted(HEADS)}; update it before promoting")
    return HEADS[kind](arrays)
