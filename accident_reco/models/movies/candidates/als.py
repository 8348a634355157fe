"""Candidate `als`: factors that rank, by implicit's alternating least squares; predicted ratings from biases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from accident_reco.models.movies.candidates import baseline
from accident_reco.models.movies.candidates.candidate import Fit, FitOptions, MovieCandidate
from accident_reco.models.movies.candidates.inner_split import TRIALS, InnerSplit, choose_best, split_rows
from accident_reco.models.movies.candidates.scorer import BaselineScorer, Histories, UserState
from accident_reco.models.movies.candidates.svd import FactorScorer

if TYPE_CHECKING:
    from accident_reco.models.movies.candidates.spark_fit import SparkCluster
    from accident_reco.models.movies.candidates.trainset import IndexedRatings
    from accident_reco.models.movies.data.ratings import RatingScale

BLOCK: Final = 2_048
"""Movies that one step of the search for the best scores: their factors fit in a core's own cache."""

MIN_TUNED: Final = 20_000
"""Ratings from which hyperparameters are tuned: the lists of fewer users differ by chance."""
MAX_TUNED: Final = 2_000_000
"""Ratings up to which hyperparameters are tuned: six more fits, which would take an hour beyond."""

NEUTRAL: Final = 2.0
"""Stars up to which a rating is no sign that the user likes the movie."""
DISLIKED: Final = 0.25
"""Confidence of a rating of `NEUTRAL` stars or less, before `alpha`."""


@dataclass(frozen=True)
class AlsOptions:
    """Hyperparameters; those not named here are implicit's own defaults.

    Args:
        tuning: factors by which an inner split tries regularisation, confidence and number of factors, one after the
            other; none: the values are used as they are, as with fewer than `MIN_TUNED` or more than
            `MAX_TUNED` ratings.
    """

    factors: int = 64
    iterations: int = 15
    regularization: float = 40.0
    alpha: float = 5.0
    tuning: tuple[float, ...] = (0.5, 2.0)


class AlsScorer(FactorScorer):
    """Factors rank; predicted ratings come from the biases alone."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self._gram = arrays["gram"]
        self._ridge = float(arrays["option_regularization"]) * np.eye(len(self._gram))
        self._system = self._gram + self._ridge
        # MLlib multiplies the regularisation by the number of ratings of the user; implicit does not.
        self.is_weighted = bool(arrays.get("option_is_weighted", 0))
        self.alpha = float(arrays["option_alpha"])
        norms = np.linalg.norm(self.movie_factors, axis=1)
        self._longest_first = np.argsort(-norms, kind="stable")
        self._sorted_norm = norms[self._longest_first]
        self._sorted_factors = self.movie_factors[self._longest_first]

    def fold_in(self, movie: np.ndarray, rating: np.ndarray) -> UserState:
        """One exact half-step of ALS (Hu, Koren, Volinsky 2008, equation 4) with the movies held still."""
        factors = self.movie_factors[movie].astype(np.float64)
        confidence, system = self._build_system(factors, rating)
        vector = np.linalg.solve(system, factors.T @ confidence)
        bias = BaselineScorer.fold_in(self, movie, rating).bias
        return UserState(bias, vector.astype(np.float32), movie, rating)

    def predict_ratings(self, state: UserState, movie: np.ndarray) -> np.ndarray:
        return BaselineScorer.predict_ratings(self, state, movie)

    def predict_pairs(self, user: np.ndarray, movie: np.ndarray, histories: Histories) -> np.ndarray:
        return BaselineScorer.predict_pairs(self, user, movie, histories)

    def compute_contributions(self, state: UserState, movie: np.ndarray) -> np.ndarray:
        """Terms of the score, one per rating (Hu, Koren, Volinsky 2008, section 5): exact for a folded-in user."""
        factors = self.movie_factors[state.movie].astype(np.float64)
        confidence, system = self._build_system(factors, state.rating)
        terms: np.ndarray = self.movie_factors[movie] @ np.linalg.solve(system, factors.T * confidence)
        return terms

    def _build_system(self, factors: np.ndarray, rating: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Confidences of the ratings, and the matrix of the half-step."""
        confidence = self.alpha * compute_confidence(rating).astype(np.float64)
        system = self._gram + len(rating) * self._ridge if self.is_weighted else self._system
        return confidence, system + (factors.T * (confidence - 1)) @ factors

    def score_all(self, state: UserState) -> np.ndarray:
        assert state.vector is not None
        return self.movie_factors @ state.vector

    def select_best(
        self, state: UserState, allowed: np.ndarray, count: int, above: float = -np.inf
    ) -> tuple[np.ndarray, np.ndarray]:
        """As over all scores (of those not below `above`), computed only for the movies that can be among the best.

        No score is above the product of the two norms (Cauchy and Schwarz): with the longest factors first, the search
        ends where the remaining movies cannot reach the best found so far. Of 60,000 movies it scores some 5,000.
        """
        assert state.vector is not None
        # Slightly above: products of float32 are inexact in their last digits.
        reach = self._sorted_norm * float(np.linalg.norm(state.vector)) * (1 + 1e-5)
        movie, score = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        lowest = above
        for start in range(0, len(reach), BLOCK):
            if reach[start] < lowest:
                break
            block = slice(start, start + BLOCK)
            found = self._sorted_factors[block] @ state.vector
            kept = np.flatnonzero(allowed[self._longest_first[block]] & (found >= lowest))
            movie = np.concatenate([movie, self._longest_first[block][kept]])
            score = np.concatenate([score, found[kept]])
            if len(score) > count:
                lowest = np.partition(score, len(score) - count)[len(score) - count]
                movie, score = movie[score >= lowest], score[score >= lowest]
        order = np.lexsort((movie, -score))[:count]
        return movie[order], score[order]


def fit(data: IndexedRatings, scale: RatingScale, options: FitOptions) -> Fit:
    """Tune on an inner split, then fit all rows on their confidences, seeded. On Spark nothing is tuned."""
    own = options.of(AlsOptions)
    if options.spark is not None:
        return fit_on_spark(options.spark, own, options)
    trials: list[float] = []
    if is_tuned(data, own, options):
        split = split_rows(data)
        own, trials = choose_options(split, own, options), split.trials
    fitted = fit_chosen(data, own, options)
    return replace(fitted, history={TRIALS: trials, **fitted.history})


def is_tuned(data: IndexedRatings, own: AlsOptions, options: FitOptions) -> bool:
    """Whether the hyperparameters are tuned, within the budget."""
    return options.tune and bool(own.tuning) and MIN_TUNED <= len(data) <= MAX_TUNED


def fit_chosen(data: IndexedRatings, own: AlsOptions, options: FitOptions) -> Fit:
    """Fit with these hyperparameters. Adds `gram` (products of the movie factors), for folding in."""
    from accident_reco.models.movies.candidates.biases import fit_biases

    loss: list[float] = []
    users, movies = fit_factors(data, own, options, loss)
    used = {name: value for name, value in asdict(own).items() if name != "tuning"} | {"random_state": options.seed}
    return Fit({**fit_biases(data), **_build_arrays(users, movies)}, used, history={"loss": loss})


def fit_on_spark(cluster: SparkCluster, own: AlsOptions, options: FitOptions) -> Fit:
    """Fit all ratings outside of the holdout on a cluster, which reads them itself.

    Metrics of all users of the holdout, measured there, are in the history.
    """
    from accident_reco.models.movies.candidates import spark_fit

    found = spark_fit.fit_factors(cluster, own, options.seed)
    used = {
        "factors": own.factors,
        "iterations": own.iterations,
        "regularization": spark_fit.REGULARIZATION,
        "alpha": own.alpha,
        "is_weighted": 1.0,
        "random_state": options.seed,
    }
    arrays = {**found.biases, **_build_arrays(found.users, found.movies)}
    history = {f"spark_{name}": [value] for name, value in found.measured.items()}
    return Fit(arrays, used, history=history, totals=found.totals)


def _build_arrays(users: np.ndarray, movies: np.ndarray) -> dict[str, np.ndarray]:
    gram = (movies.astype(np.float64).T @ movies).astype(np.float64)
    return {"user_factors": users, "movie_factors": movies, "gram": gram}


def fit_factors(
    data: IndexedRatings, own: AlsOptions, options: FitOptions, loss: list[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Factors of users and movies, float32.

    Args:
        loss: gets the training loss after each iteration, which costs a sixth more time and changes no factor.
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    confidences = data.build_matrix()
    confidences.data = compute_confidence(confidences.data)
    # implicit runs its own threads and requires that BLAS runs none beside them.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=own.factors,
            iterations=own.iterations,
            regularization=own.regularization,
            alpha=own.alpha,
            random_state=options.seed,
            num_threads=options.threads,
            calculate_training_loss=loss is not None,
        )
        record = None if loss is None else lambda _iteration, _seconds, value: loss.append(value)
        model.fit(confidences, show_progress=False, callback=record)
    return np.asarray(model.user_factors, dtype=np.float32), np.asarray(model.item_factors, dtype=np.float32)


def choose_options(split: InnerSplit, own: AlsOptions, options: FitOptions) -> AlsOptions:
    """Hyperparameters by NDCG@10 of an inner split, one after the other."""

    @cache
    def measure(one: AlsOptions) -> float:
        users, movies = fit_factors(split.known, one, options)
        return split.measure(users[split.users] @ movies.T)

    steps = (1.0, *own.tuning)
    best, _ = choose_best([replace(own, regularization=own.regularization * step) for step in steps], measure)
    best, _ = choose_best([replace(best, alpha=own.alpha * step) for step in steps], measure)
    # No more factors than by default: the cost of a request grows with them.
    factors = [replace(best, factors=max(1, int(own.factors * step))) for step in steps if step <= 1]
    return choose_best(factors, measure)[0]


def compute_confidence(rating: np.ndarray) -> np.ndarray:
    """Confidence that the user likes the movie, float32: 3 at five stars, 0.25 at two stars and below."""
    return np.maximum(rating - np.float32(NEUTRAL), np.float32(DISLIKED)).astype(np.float32)


CANDIDATE: Final = MovieCandidate(
    kind="als",
    asset="ranking_model",
    description="implicit ALS: factors that rank; predicted ratings from biases.",
    algorithm="matrix factorisation that ranks (implicit ALS), stars from user and movie biases",
    scorer=AlsScorer,
    fit=fit,
    options=AlsOptions,
    folds=baseline.BIASES,
    predicts_stars=False,
)
