"""Candidate `stack`: predicted stars from SVD, item neighbourhoods and biases together, weighted out of fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from accident_reco.models.movies.candidates import baseline, knn, svd
from accident_reco.models.movies.candidates.candidate import Fit, FitOptions, MovieCandidate, list_samples
from accident_reco.models.movies.candidates.knn import KnnOptions
from accident_reco.models.movies.candidates.parts import (
    PartsState,
    build_parts,
    pack_options,
    pack_parts,
    spread_parts,
)
from accident_reco.models.movies.candidates.scorer import BaselineScorer, Histories, UserState
from accident_reco.models.movies.candidates.svd import SvdOptions

if TYPE_CHECKING:
    from accident_reco.models.movies.candidates.trainset import IndexedRatings
    from accident_reco.models.movies.data.ratings import RatingScale

PARTS: Final[Mapping[str, MovieCandidate]] = {
    one.kind: one for one in (svd.CANDIDATE, knn.CANDIDATE, baseline.CANDIDATE)
}
"""Kind → part, in the order of the weights."""
MAX_WEIGHED: Final = 2_000_000
"""Ratings that the weights are learned from, which are four numbers."""
MAX_NEIGHBOURS: Final = 1_200_000
"""Similarities that the neighbourhoods choose in all: 10 to 20 MB of a bundle, since a pair is kept for both movies."""


@dataclass(frozen=True)
class StackOptions:
    """Hyperparameters of the parts; a stack wants factors that are fitted longer and regularised more than alone.

    Args:
        neighbours: similar movies kept per movie, fewer where the catalogue has more than `MAX_NEIGHBOURS` of them.
    """

    factors: int = 50
    epochs: int = 60
    learning_rate: float = 0.007
    regularization: float = 0.08
    neighbours: int = 800


class StackScorer(BaselineScorer):
    """Weighted sum of the parts. Its biases are those of the sum, for movies that no part knows."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self.weight: list[float] = arrays["stack_weight"].tolist()
        self.intercept = float(arrays["stack_intercept"])
        self.parts = build_parts(arrays, PARTS)
        self.mean = self.intercept + float(self._sum([np.array(part.mean) for part in self.parts]))
        self.user_bias = self._sum([part.user_bias for part in self.parts])
        self.movie_bias = self._sum([part.movie_bias for part in self.parts])

    def _sum(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Weighted sum of one array of each part."""
        total = np.zeros_like(values[0], dtype=np.float64)
        for weight, value in zip(self.weight, values, strict=True):
            total += weight * value
        return total

    def _combine(self, states: list[UserState], movie: np.ndarray, rating: np.ndarray) -> PartsState:
        return PartsState(float(self._sum([np.array(one.bias) for one in states])), None, movie, rating, tuple(states))

    def load_user(self, user: int, movie: np.ndarray, rating: np.ndarray) -> UserState:
        return self._combine([part.load_user(user, movie, rating) for part in self.parts], movie, rating)

    def fold_in(self, movie: np.ndarray, rating: np.ndarray) -> UserState:
        return self._combine([part.fold_in(movie, rating) for part in self.parts], movie, rating)

    def build_unknown(self) -> UserState:
        states = [part.build_unknown() for part in self.parts]
        return self._combine(states, states[0].movie, states[0].rating)

    def predict_ratings(self, state: UserState, movie: np.ndarray) -> np.ndarray:
        assert isinstance(state, PartsState)
        stars = [part.predict_ratings(own, movie) for part, own in zip(self.parts, state.parts, strict=True)]
        return self.intercept + self._sum(stars)

    def predict_pairs(self, user: np.ndarray, movie: np.ndarray, histories: Histories) -> np.ndarray:
        return self.intercept + self._sum([part.predict_pairs(user, movie, histories) for part in self.parts])

    def score_all(self, state: UserState) -> np.ndarray:
        assert isinstance(state, PartsState)
        return self.intercept + self._sum(
            [part.score_all(own) for part, own in zip(self.parts, state.parts, strict=True)]
        )

    def compute_similarity(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return self.parts[list(PARTS).index("knn")].compute_similarity(one, other)


def fit(data: IndexedRatings, scale: RatingScale, options: FitOptions) -> Fit:
    """Fit each part on all rows, and the weights by least squares on what the parts of the folds predict for the rows
    that they were not fitted on. The folds are those of the cross-validation, whose errors come with them.
    """
    own = options.of(StackOptions)
    of_parts = replace(options, hyperparameters=build_part_options(own, len(data.movie_ids)))
    rating, predicted, folds = predict_out_of_fold(data, scale, of_parts)
    weights = [np.linalg.lstsq(predicted[~held], rating[~held], rcond=None)[0] for held in folds]
    errors = [
        np.clip(predicted[held] @ weight, scale.low, scale.high) - rating[held]
        for weight, held in zip(weights, folds, strict=True)
    ]
    weight = np.linalg.lstsq(predicted, rating.astype(np.float64), rcond=None)[0]
    fits = {kind: part.fit(data, scale, of_parts) for kind, part in PARTS.items()}
    biases = {name: fits["baseline"].arrays[name] for name in ("user_bias", "movie_bias", "global_mean")}
    return Fit(
        {
            **biases,
            **pack_parts(fits, biases),
            "stack_weight": weight[:-1],
            "stack_intercept": np.array(weight[-1]),
        },
        {f"weight_{kind}": float(one) for kind, one in zip(PARTS, weight, strict=False)},
        _build_prediction(fits, weight),
        folds=[{"rmse": float(np.sqrt(np.mean(error**2))), "mae": float(np.mean(np.abs(error)))} for error in errors],
        samples=(*list_samples("weights", len(rating), len(data)), *fits["knn"].samples),
    )


def predict_out_of_fold(
    data: IndexedRatings, scale: RatingScale, options: FitOptions
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """What the parts predict for rows that they were not fitted on.

    Returns:
        Stars of the rows, shape (n,); the parts' predictions and a column of ones, shape (n, parts + 1); and masks
        (n,) of the rows that are held out together. They are all rows of `data`, or about `MAX_WEIGHED` rows of whole
        users where a cross-validation has one fold alone: then a third of these is held out from learning the weights.
    """
    from accident_reco.models.movies.data.split import FOLDS, iterate_folds

    folds = list(iterate_folds(len(data), options.seed))
    chosen = np.logical_or.reduce([held for _, held in folds])
    if len(folds) < FOLDS:
        chosen[chosen] = data.take(chosen).mask_sample(MAX_WEIGHED)
    predicted = np.ones((int(chosen.sum()), len(PARTS) + 1))
    for train, held in folds:
        known, unknown = data.take(train), data.take(held & chosen)
        for column, part in enumerate(PARTS.values()):
            fitted = part.fit(known, scale, options)
            predicted[held[chosen], column] = predict_rows(part, fitted, known, unknown)
    together = [held for _, held in folds]
    if len(folds) < FOLDS:
        together = [next(iterate_folds(len(predicted), options.seed))[1]]
    return data.rating[chosen], predicted, together


def build_part_options(own: StackOptions, movies: int) -> tuple[SvdOptions, KnnOptions]:
    """Hyperparameters of the parts for a catalogue of so many movies."""
    return (
        SvdOptions(own.factors, own.epochs, own.learning_rate, own.regularization),
        KnnOptions(neighbours=max(1, min(own.neighbours, MAX_NEIGHBOURS // max(movies, 1)))),
    )


def predict_rows(part: MovieCandidate, fitted: Fit, known: IndexedRatings, held: IndexedRatings) -> np.ndarray:
    """Stars that a part predicts for rows of the same users and movies, from its known rows."""
    movies = len(known.movie_ids)
    arrays = {
        **part.spread(fitted.arrays, np.arange(movies), movies),
        **pack_options(fitted.options),
        "genre_names": np.zeros(0, dtype="U1"),
        "genre_bits": np.zeros(movies, dtype=np.uint64),
    }
    start, end = (np.searchsorted(known.user, held.user, side=side) for side in ("left", "right"))
    histories = Histories(known.movie, known.rating, start, end)
    return part.scorer(arrays).predict_pairs(held.user, held.movie, histories)


def _build_prediction(fits: Mapping[str, Fit], weight: np.ndarray) -> Callable[[int, int], float]:
    """The same sum of what the libraries predict themselves."""
    predictions = [fitted.predict for fitted in fits.values()]

    def predict(user_id: int, movie_id: int) -> float:
        parts = [one(user_id, movie_id) for one in predictions if one is not None]
        return float(weight[:-1] @ np.array(parts) + weight[-1])

    return predict


def _spread(arrays: Mapping[str, np.ndarray], place: np.ndarray, size: int) -> dict[str, np.ndarray]:
    return spread_parts(arrays, place, size, PARTS)


CANDIDATE: Final = MovieCandidate(
    kind="stack",
    asset="stacked_stars_model",
    description="SVD, KNNBaseline and biases weighted out of fold, for predicted ratings.",
    algorithm="SVD, item neighbourhoods and biases, weighted by least squares out of fold",
    scorer=StackScorer,
    fit=fit,
    priority=3,
    options=StackOptions,
    spread=_spread,
    ranks=False,
)
