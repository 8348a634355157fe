"""The head of KNNBaseline: what a person rated among the most similar movies moves the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from accident_reco.models.movies.scoring.scorers.base import BaselineHead, Histories, Taste

_ONE_AS_BITS: Final = np.float32(1).view(np.uint32)
# Cells of a table of similarities, and ratings of histories, that one step of judging many pairs looks at.
TABLE_CELLS: Final = 2_000_000
RATINGS_AT_ONCE: Final = 500_000


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
        # Counted among the asked movies, not among all of the catalogue.
        other, nearness = self._rows(asked)
        target = np.repeat(np.arange(len(asked)), self._lengths(asked))
        nth = place[other]
        rated = nth >= 0
        own = np.flatnonzero(place[asked] >= 0)
        base = super().rating(taste, asked)
        stars = self._stars(taste, base, target[rated], nth[rated], nearness[rated], own, place[asked[own]])
        return stars[np.searchsorted(asked, movie)]

    def pair_ratings(self, user: np.ndarray, movie: np.ndarray, histories: Histories) -> np.ndarray:
        """Movie by movie: the similarities of some as a table, which every history that asks for them looks up."""
        stars = super().pair_ratings(user, movie, histories)
        order = np.argsort(movie, kind="stable")
        asked, first = np.unique(movie[order], return_index=True)
        first = np.append(first, len(order))
        movies = len(self.movie_bias)
        for start in range(0, len(asked), step := max(1, TABLE_CELLS // max(movies, 1))):
            some = asked[start : start + step]
            other, nearness = self._rows(some)
            table = np.zeros((len(some), movies), dtype=np.float32)
            table[np.repeat(np.arange(len(some)), self._lengths(some)), other] = nearness
            # As in Surprise, similarity 1 stands on the diagonal.
            table[np.arange(len(some)), some] = 1
            pairs = order[first[start] : first[start + len(some)]]
            ratings = np.cumsum(histories.end[pairs] - histories.start[pairs])
            for part in np.split(pairs, np.flatnonzero(np.diff(ratings // RATINGS_AT_ONCE)) + 1):
                row = np.searchsorted(some, movie[part])
                stars[part] = self._table_stars(table, row, self.user_bias[user[part]], stars[part], histories, part)
        return stars

    def _table_stars(
        self, table: np.ndarray, row: np.ndarray, bias: np.ndarray, base: np.ndarray, of: Histories, pairs: np.ndarray
    ) -> np.ndarray:
        """Stars of some pairs, whose movies are rows of a table of similarities."""
        lengths = of.end[pairs] - of.start[pairs]
        target = np.repeat(np.arange(len(pairs)), lengths)
        nth = np.arange(len(target)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rated = of.movie[of.start[pairs][target] + nth]
        nearness = table.ravel()[row[target] * table.shape[1] + rated]
        near = np.flatnonzero(nearness)
        target, nth, nearness = target[near], nth[near], nearness[near]
        at = of.start[pairs][target] + nth
        deviation = of.rating[at].astype(np.float64) - self.mean - bias[target] - self.movie_bias[of.movie[at]]
        return self._moved(base, target, nth, nearness, deviation)

    def ranking(self, taste: Taste) -> np.ndarray:
        # Similarity is symmetric: the rows of the history hold every movie that it says something about.
        target, nearness = self._rows(taste.movie)
        nth = np.repeat(np.arange(len(taste.movie)), self._lengths(taste.movie))
        base = super().ranking(taste)
        return self._stars(taste, base, target, nth, nearness, taste.movie, np.arange(len(taste.movie)))

    def _lengths(self, rows: np.ndarray) -> np.ndarray:
        return self.start[rows + 1] - self.start[rows]

    def _rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All similarities of some movies, one movie after the other: (other movie, similarity)."""
        bounds = zip(self.start[rows].tolist(), self.start[rows + 1].tolist(), strict=True)
        # The empty one is for no movies at all.
        kept = [slice(0, 0), *(slice(first, end) for first, end in bounds)]
        return np.concatenate([self.neighbour[at] for at in kept]), np.concatenate([self.similarity[at] for at in kept])

    def _stars(
        self,
        taste: Taste,
        base: np.ndarray,
        target: np.ndarray,
        nth: np.ndarray,
        nearness: np.ndarray,
        own: np.ndarray,
        own_nth: np.ndarray,
    ) -> np.ndarray:
        """Surprise's formula: the `k` nearest rated neighbours of each target move its baseline.

        Args:
            base: the baseline of every movie that may be a target.
            target, nth, nearness: a movie, which rating of the history it is near to, and how near.
            own, own_nth: rated movies that are targets themselves: as in Surprise, similarity 1 stands on the diagonal.
        """
        target = np.concatenate([target, own])
        nth = np.concatenate([nth, own_nth])
        nearness = np.concatenate([nearness, np.ones(len(own), dtype=np.float32)])
        deviation = taste.rating.astype(np.float64) - self.mean - taste.bias - self.movie_bias[taste.movie]
        return self._moved(base, target, nth, nearness, deviation[nth])

    def _moved(
        self, base: np.ndarray, target: np.ndarray, nth: np.ndarray, nearness: np.ndarray, deviation: np.ndarray
    ) -> np.ndarray:
        """The baseline of each target, moved by the mean deviation of its `k` nearest, the nearest counting most."""
        target = target.astype(np.intp, copy=False)  # once, not in each of the counts below
        count = np.bincount(target, minlength=len(base))
        similarity = nearness.astype(np.float64)
        crowded = np.flatnonzero((count > self.k)[target])
        similarity[crowded[self._too_far(target[crowded], nth[crowded], nearness[crowded], len(base))]] = 0
        weight = np.bincount(target, weights=similarity, minlength=len(base))
        moved = np.bincount(target, weights=similarity * deviation, minlength=len(base))
        enough = np.minimum(count, self.k) >= max(self.min_k, 1)
        stars: np.ndarray = base + np.where(enough, moved / np.where(weight > 0, weight, 1), 0)
        return stars

    def _too_far(self, target: np.ndarray, nth: np.ndarray, nearness: np.ndarray, targets: int) -> np.ndarray:
        """Mask of what is not among the `k` nearest of its target, each of which has more than `k`; of equals the first
        of the history are nearer, as Surprise leaves them.

        One sort does it: positive floats order like their bits, so all three fit in one integer.
        """
        farness = (_ONE_AS_BITS - nearness.view(np.uint32)).astype(np.uint64)
        key = (target.astype(np.uint64) << np.uint64(43)) | (farness << np.uint64(13)) | nth.astype(np.uint64)
        ordered = np.sort(key)
        owner = (ordered >> np.uint64(43)).astype(np.int64)
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        farthest = np.zeros(targets, dtype=np.uint64)
        farthest[owner[first]] = ordered[first + self.k - 1]
        far: np.ndarray = key > farthest[target]
        return far

    def likeness(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        table = np.zeros((len(one), len(self.movie_bias)), dtype=np.float32)
        for row, movie in enumerate(one.tolist()):
            kept = slice(self.start[movie], self.start[movie + 1])
            table[row, self.neighbour[kept]] = self.similarity[kept]
            table[row, movie] = 1
        return table[:, other]
