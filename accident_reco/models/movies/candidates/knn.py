"""Candidate `knn`: item neighbourhoods over baselines, by Surprise's KNNBaseline with sparse similarities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from accident_reco.models.movies.candidates.candidate import (
    Fit,
    FitOptions,
    MovieCandidate,
    list_samples,
    narrow_positions,
    spread_movies,
)
from accident_reco.models.movies.candidates.scorer import BaselineScorer, Histories, UserState

if TYPE_CHECKING:
    from accident_reco.models.movies.candidates.similarity import Neighbours
    from accident_reco.models.movies.candidates.trainset import IndexedRatings
    from accident_reco.models.movies.data.ratings import RatingScale

TABLE_CELLS: Final = 2_000_000
"""Cells of the table of similarities that one step of `predict_pairs` builds."""
MAX_COMPARED: Final = 8_000_000
"""Ratings that similarities are computed from: the products of Surprise's `pearson_baseline` grow with the sum of the
squares of the users' numbers of ratings, and its matrices take some hundred bytes a rating."""
MAX_NEIGHBOURS: Final = 10_000_000
"""Similarities that the movies choose in all: at most 160 MB of a bundle, since a pair is kept for both movies."""
RATINGS_AT_ONCE: Final = 500_000
"""Ratings of histories that one step of `predict_pairs` looks up."""
_ONE_AS_BITS: Final = np.float32(1).view(np.uint32)


@dataclass(frozen=True)
class KnnOptions:
    """Hyperparameters; those not named here are Surprise's own defaults.

    Args:
        neighbours: similar movies kept per movie, fewer where the catalogue has too many (`limit_neighbours`).
            Bounds the bundle; the rating error hardly changes (a test holds ±0.003).
    """

    k: int = 40
    min_k: int = 1
    shrinkage: float = 100.0
    neighbours: int = 800

    def limit_neighbours(self, movies: int, max_neighbours: int = MAX_NEIGHBOURS) -> KnnOptions:
        """The options for a catalogue of so many movies."""
        return replace(self, neighbours=max(1, min(self.neighbours, max_neighbours // max(movies, 1))))


class NeighbourScorer(BaselineScorer):
    """The baseline, moved by what the user rated among the `k` movies most similar to the scored one."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self.start = arrays["neighbour_start"]
        self.neighbour = arrays["neighbour"].astype(np.int32, copy=False)  # uint16 in a bundle of a smaller catalogue
        self.similarity = arrays["neighbour_similarity"]
        self.k = int(arrays["option_k"])
        self.min_k = int(arrays["option_min_k"])

    def load_user(self, user: int, movie: np.ndarray, rating: np.ndarray) -> UserState:
        return self._sort_history(float(self.user_bias[user]), movie, rating)

    def fold_in(self, movie: np.ndarray, rating: np.ndarray) -> UserState:
        return self._sort_history(super().fold_in(movie, rating).bias, movie, rating)

    @staticmethod
    def _sort_history(bias: float, movie: np.ndarray, rating: np.ndarray) -> UserState:
        order = np.argsort(movie, kind="stable")
        return UserState(bias, None, movie[order], rating[order])

    def predict_ratings(self, state: UserState, movie: np.ndarray) -> np.ndarray:
        if len(movie) >= len(state.movie):
            return self.score_all(state)[movie]
        # Few movies are requested: read from their rows the neighbours that the user has rated.
        requested = np.unique(movie)
        place = np.full(len(self.movie_bias), -1, dtype=np.int64)
        place[state.movie] = np.arange(len(state.movie))
        # Counts are over the requested movies, not over the whole catalogue.
        other, similarity = self._read_rows(requested)
        target = np.repeat(np.arange(len(requested)), self._count_neighbours(requested))
        nth = place[other]
        rated = nth >= 0
        own = np.flatnonzero(place[requested] >= 0)
        base = super().predict_ratings(state, requested)
        stars = self._predict_from_neighbours(
            state, base, target[rated], nth[rated], similarity[rated], own, place[requested[own]]
        )
        return stars[np.searchsorted(requested, movie)]

    def predict_pairs(self, user: np.ndarray, movie: np.ndarray, histories: Histories) -> np.ndarray:
        """As the base class, over blocks of movies: their similarities as a dense table that all histories look up."""
        stars = super().predict_pairs(user, movie, histories)
        order = np.argsort(movie, kind="stable")
        requested, first = np.unique(movie[order], return_index=True)
        first = np.append(first, len(order))
        movies = len(self.movie_bias)
        for start in range(0, len(requested), step := max(1, TABLE_CELLS // max(movies, 1))):
            some = requested[start : start + step]
            other, similarity = self._read_rows(some)
            table = np.zeros((len(some), movies), dtype=np.float32)
            table[np.repeat(np.arange(len(some)), self._count_neighbours(some)), other] = similarity
            # As in Surprise, the diagonal is 1.
            table[np.arange(len(some)), some] = 1
            pairs = order[first[start] : first[start + len(some)]]
            ratings = np.cumsum(histories.end[pairs] - histories.start[pairs])
            for part in np.split(pairs, np.flatnonzero(np.diff(ratings // RATINGS_AT_ONCE)) + 1):
                row = np.searchsorted(some, movie[part])
                stars[part] = self._predict_from_table(
                    table, row, self.user_bias[user[part]], stars[part], histories, part
                )
        return stars

    def _predict_from_table(
        self, table: np.ndarray, row: np.ndarray, bias: np.ndarray, base: np.ndarray, of: Histories, pairs: np.ndarray
    ) -> np.ndarray:
        """Stars of some pairs, whose movies are rows of a table of similarities (movies, catalogue)."""
        lengths = of.end[pairs] - of.start[pairs]
        target = np.repeat(np.arange(len(pairs)), lengths)
        nth = np.arange(len(target)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rated = of.movie[of.start[pairs][target] + nth]
        similarity = table.ravel()[row[target] * table.shape[1] + rated]
        near = np.flatnonzero(similarity)
        target, nth, similarity = target[near], nth[near], similarity[near]
        at = of.start[pairs][target] + nth
        deviation = of.rating[at].astype(np.float64) - self.mean - bias[target] - self.movie_bias[of.movie[at]]
        return self._move_baseline(base, target, nth, similarity, deviation)

    def score_all(self, state: UserState) -> np.ndarray:
        # Similarity is symmetric: the rows of the history hold every movie that it influences.
        target, similarity = self._read_rows(state.movie)
        nth = np.repeat(np.arange(len(state.movie)), self._count_neighbours(state.movie))
        base = super().score_all(state)
        return self._predict_from_neighbours(
            state, base, target, nth, similarity, state.movie, np.arange(len(state.movie))
        )

    def _count_neighbours(self, rows: np.ndarray) -> np.ndarray:
        return self.start[rows + 1] - self.start[rows]

    def _read_rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All similarities of some movies, one movie after the other: (other movie, similarity)."""
        bounds = zip(self.start[rows].tolist(), self.start[rows + 1].tolist(), strict=True)
        # The empty slice covers the case of no movies.
        kept = [slice(0, 0), *(slice(first, end) for first, end in bounds)]
        return np.concatenate([self.neighbour[at] for at in kept]), np.concatenate([self.similarity[at] for at in kept])

    def _predict_from_neighbours(
        self,
        state: UserState,
        base: np.ndarray,
        target: np.ndarray,
        nth: np.ndarray,
        similarity: np.ndarray,
        own: np.ndarray,
        own_nth: np.ndarray,
    ) -> np.ndarray:
        """Stars by Surprise's formula: the `k` nearest rated neighbours of each target move its baseline.

        Args:
            base: the baseline of every movie that may be a target.
            target, nth, similarity: a movie, the rating of the history that it is a neighbour of, their similarity.
            own, own_nth: rated movies that are targets themselves; as in Surprise, their similarity is 1.
        """
        target = np.concatenate([target, own])
        nth = np.concatenate([nth, own_nth])
        similarity = np.concatenate([similarity, np.ones(len(own), dtype=np.float32)])
        deviation = state.rating.astype(np.float64) - self.mean - state.bias - self.movie_bias[state.movie]
        return self._move_baseline(base, target, nth, similarity, deviation[nth])

    def _move_baseline(
        self, base: np.ndarray, target: np.ndarray, nth: np.ndarray, similarity: np.ndarray, deviation: np.ndarray
    ) -> np.ndarray:
        """The baseline of each target, moved by the mean deviation of its `k` nearest, the nearest counting most."""
        target = target.astype(np.intp, copy=False)  # once, not in each count below
        count = np.bincount(target, minlength=len(base))
        weights = similarity.astype(np.float64)
        crowded = np.flatnonzero((count > self.k)[target])
        weights[crowded[self._mask_far(target[crowded], nth[crowded], similarity[crowded], len(base))]] = 0
        total = np.bincount(target, weights=weights, minlength=len(base))
        moved = np.bincount(target, weights=weights * deviation, minlength=len(base))
        enough = np.minimum(count, self.k) >= max(self.min_k, 1)
        stars: np.ndarray = base + np.where(enough, moved / np.where(total > 0, total, 1), 0)
        return stars

    def _mask_far(self, target: np.ndarray, nth: np.ndarray, similarity: np.ndarray, targets: int) -> np.ndarray:
        """Mask of neighbours that are not among the `k` nearest of their target, each of which has more than `k`; of
        equals the first of the history are nearer, as in Surprise.

        One sort suffices: positive floats order like their bits, so all three values fit in one integer.
        """
        farness = (_ONE_AS_BITS - similarity.view(np.uint32)).astype(np.uint64)
        key = (target.astype(np.uint64) << np.uint64(43)) | (farness << np.uint64(13)) | nth.astype(np.uint64)
        ordered = np.sort(key)
        owner = (ordered >> np.uint64(43)).astype(np.int64)
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        farthest = np.zeros(targets, dtype=np.uint64)
        farthest[owner[first]] = ordered[first + self.k - 1]
        far: np.ndarray = key > farthest[target]
        return far

    def compute_similarity(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        table = np.zeros((len(one), len(self.movie_bias)), dtype=np.float32)
        for row, movie in enumerate(one.tolist()):
            kept = slice(self.start[movie], self.start[movie + 1])
            table[row, self.neighbour[kept]] = self.similarity[kept]
            table[row, movie] = 1
        return table[:, other]


def fit(data: IndexedRatings, scale: RatingScale, options: FitOptions) -> Fit:
    """Fit KNNBaseline. Adds the similar movies of each as `neighbour_start`, `neighbour`, `neighbour_similarity`."""
    from surprise import KNNBaseline

    from accident_reco.models.movies.candidates.similarity import compute_similar_movies
    from accident_reco.models.movies.candidates.surprise_fit import fit_surprise

    own = options.of(KnnOptions).limit_neighbours(len(data.movie_ids))

    class SparseKNNBaseline(KNNBaseline):
        """KNNBaseline whose similarities are sparse: Surprise's own are five dense movie × movie matrices."""

        def __init__(self, ratings: IndexedRatings) -> None:
            similarity = {"name": "pearson_baseline", "user_based": False, "shrinkage": own.shrinkage}
            super().__init__(k=own.k, min_k=own.min_k, verbose=False, sim_options=similarity)
            self.ratings, self.compared = ratings, 0

        def compute_similarities(self) -> Neighbours:
            some = self.ratings.sample_users(MAX_COMPARED)
            self.compared = len(some)
            return compute_similar_movies(
                some,
                self.trainset.global_mean,
                self.bu,
                self.bi,
                shrinkage=own.shrinkage,
                keep=own.neighbours,
                threads=options.threads,
            )

    fitted = fit_surprise(SparseKNNBaseline, data, scale)
    similar: Neighbours = fitted.algorithm.sim.renumber(fitted.movies, len(data.movie_ids))
    arrays = {
        **fitted.read_biases(),
        "neighbour_start": similar.start,
        "neighbour": similar.movie,
        "neighbour_similarity": similar.similarity,
    }
    used = {"k": own.k, "min_k": own.min_k, "neighbours": own.neighbours}
    samples = list_samples("similarities", fitted.algorithm.compared, len(data))
    return Fit(arrays, used, fitted.predict, samples=samples)


def _spread(arrays: Mapping[str, np.ndarray], place: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """`spread_movies`, and the neighbours of each movie with the positions of the catalogue."""
    lengths = np.zeros(size, dtype=np.int64)
    lengths[place] = np.diff(arrays["neighbour_start"])
    start = np.concatenate([[0], np.cumsum(lengths)])
    neighbour = narrow_positions(place[arrays["neighbour"]], size)
    return spread_movies(arrays, place, size) | {"neighbour_start": start, "neighbour": neighbour}


CANDIDATE: Final = MovieCandidate(
    kind="knn",
    asset="knn_model",
    description="Surprise KNNBaseline over similar movies, for predicted ratings.",
    algorithm="item neighbourhoods with baselines (Surprise KNNBaseline)",
    scorer=NeighbourScorer,
    fit=fit,
    priority=2,
    options=KnnOptions,
    spread=_spread,
)
