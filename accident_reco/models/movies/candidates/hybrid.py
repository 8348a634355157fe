"""Candidate `hybrid`: item weights of EASE^R and SLIM for the most rated movies, and factors of ALS for all of them.

Where a catalogue is larger than what `ease` and `slim` cover, the other movies are ranked by ALS alone. Users are known
by their ratings, which all parts fold in exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from accident_reco.models.movies.candidates import als, baseline, ease, slim
from accident_reco.models.movies.candidates.als import AlsOptions, AlsScorer
from accident_reco.models.movies.candidates.candidate import Fit, FitOptions, FitSample, MovieCandidate
from accident_reco.models.movies.candidates.ease import EaseChoice, EaseOptions
from accident_reco.models.movies.candidates.inner_split import TRIALS, InnerSplit, choose_best, split_rows
from accident_reco.models.movies.candidates.item_weights import ItemWeightScorer, pack_weights
from accident_reco.models.movies.candidates.parts import PartsState, pack_parts, select_part, spread_parts
from accident_reco.models.movies.candidates.scorer import BaselineScorer, UserState
from accident_reco.models.movies.candidates.selection import select_top
from accident_reco.models.movies.candidates.slim import SlimOptions

if TYPE_CHECKING:
    from accident_reco.models.movies.candidates.trainset import IndexedRatings
    from accident_reco.models.movies.data.ratings import RatingScale

PARTS: Final[Mapping[str, MovieCandidate]] = {"items": ease.CANDIDATE, "als": als.CANDIDATE}


@dataclass(frozen=True)
class HybridOptions:
    """Weights of the parts' scores that the inner split chooses from; that of EASE^R is 1."""

    slim_weights: tuple[float, ...] = (1.0, 0.5, 2.0)
    als_weights: tuple[float, ...] = (0.2, 0.1, 0.4, 0.8)


@dataclass(frozen=True)
class HybridChoice:
    """Hyperparameters of one fit: those of the parts, the weights of SLIM and ALS, the number of kept weights of EASE^R
    and the NDCG@10 that keeping only these loses (None: not measured).
    """

    ease: EaseChoice
    slim: SlimOptions
    als: AlsOptions
    slim_weight: float
    als_weight: float
    keep: int
    loss: float | None = None


class HybridScorer(BaselineScorer):
    """Sum of the two scores; predicted ratings come from the biases."""

    needs_history = True

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self.items = ItemWeightScorer({**arrays, **select_part(arrays, "items")})
        self.factors = AlsScorer({**arrays, **select_part(arrays, "als")})
        self.weight = float(arrays["option_als_weight"])
        self.popularity = arrays["popularity"]
        self._is_dense = np.zeros(len(self.movie_bias), dtype=bool)
        self._is_dense[self.items.target] = True
        self._dense = np.flatnonzero(self._is_dense)
        self._dense_factors = self.factors.movie_factors[self._dense]

    def load_user(self, user: int, movie: np.ndarray, rating: np.ndarray) -> UserState:
        return self.fold_in(movie, rating) if len(movie) else self.build_unknown()

    def fold_in(self, movie: np.ndarray, rating: np.ndarray) -> UserState:
        parts = (self.items.fold_in(movie, rating), self.factors.fold_in(movie, rating))
        return PartsState(parts[0].bias, parts[1].vector, movie, rating, parts)

    def score_all(self, state: UserState) -> np.ndarray:
        if not isinstance(state, PartsState):
            return self.popularity.astype(np.float64)
        items, factors = state.parts
        return self.items.score_all(items) + self.weight * self.factors.score_all(factors)

    def select_best(self, state: UserState, allowed: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As over all scores; those of movies without item weights are found as `AlsScorer` finds them."""
        if not isinstance(state, PartsState):
            return super().select_best(state, allowed, count)
        items, factors = state.parts
        dense = self.items.score_all(items)[self._dense] + self.weight * (self._dense_factors @ factors.vector)
        best = select_top(np.where(allowed[self._dense], dense, -np.inf), count)
        # Others count only above the last of these; a little lower, since float32 is inexact in its last digits.
        last = float(dense[best[-1]]) / self.weight if len(best) == count else -np.inf
        above = last - 1e-5 * max(1.0, abs(last)) if np.isfinite(last) else last
        others, score = self.factors.select_best(factors, allowed & ~self._is_dense, count, above)
        rows = np.concatenate([self._dense[best], others])
        score = np.concatenate([dense[best], self.weight * score.astype(np.float64)])
        order = np.lexsort((rows, -score))[:count]
        return rows[order], score[order]

    def compute_contributions(self, state: UserState, movie: np.ndarray) -> np.ndarray:
        if not len(state.movie):
            return np.zeros((len(movie), 0))
        factors = self.factors.compute_contributions(state, movie)
        return self.items.compute_contributions(state, movie) + self.weight * factors

    def compute_similarity(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """That of the item weights; that of the factors for a movie without weights."""
        similarity = self.items.compute_similarity(one, other)
        sparse = np.flatnonzero(self.items.start[one + 1] == self.items.start[one])
        if len(sparse):
            similarity[sparse] = self.factors.compute_similarity(one[sparse], other)
        return similarity


def fit(data: IndexedRatings, scale: RatingScale, options: FitOptions) -> Fit:
    """Tune each part on one inner split, then the weights of their scores on the same; fit all rows."""
    from threadpoolctl import threadpool_limits

    from accident_reco.models.movies.candidates.biases import fit_biases

    of_ease = options.of(EaseOptions)
    trials: list[float] = []
    samples: tuple[FitSample, ...] = ()
    with threadpool_limits(1, "blas"):
        if options.tune:
            split = split_rows(data)
            chosen, trials, samples = choose_parts(split, data, options), split.trials, split.samples
        else:
            chosen = start_parts(options)
        weights = ease.fit_weights(data, chosen.ease, of_ease.dense_movies, chosen.keep)
        weights = weights + chosen.slim_weight * slim.fit_weights(data, chosen.slim)
        by_items = Fit(pack_weights(weights), ease.describe(chosen.ease))
        by_factors = als.fit_chosen(data, chosen.als, options)
    biases = fit_biases(data)
    arrays = pack_parts({"items": by_items, "als": by_factors}, biases)
    # Every user is folded in: the factors of those of the training rows would only enlarge the bundle.
    arrays["als:user_factors"] = by_factors.arrays["user_factors"][:0]
    used = {
        **{f"ease_{name}": value for name, value in by_items.options.items()},
        **{f"als_{name}": value for name, value in by_factors.options.items()},
        "slim_l1": chosen.slim.penalties[0][0],
        "slim_l2": chosen.slim.penalties[0][1],
        "slim_weight": chosen.slim_weight,
        "als_weight": chosen.als_weight,
    }
    history = {TRIALS: trials, **{f"als_{name}": values for name, values in by_factors.history.items()}}
    return Fit({**biases, **arrays}, used, pruning_loss=chosen.loss, history=history, samples=samples)


def start_parts(options: FitOptions) -> HybridChoice:
    """The first of what each part chooses from."""
    own, of_ease = options.of(HybridOptions), options.of(EaseOptions)
    first, of_slim = ease.start_options(of_ease), options.of(SlimOptions)
    # Both are one matrix in the end, so that a rating counts as the same in both.
    of_slim = replace(of_slim, input=first.input, damping=first.damping)
    keep = of_ease.kept_weights[0]
    return HybridChoice(first, of_slim, options.of(AlsOptions), own.slim_weights[0], own.als_weights[0], keep)


def choose_parts(split: InnerSplit, data: IndexedRatings, options: FitOptions) -> HybridChoice:
    """Tune each part, then the weights of their scores, then the number of weights that are kept."""
    own, of_ease, of_als = options.of(HybridOptions), options.of(EaseOptions), options.of(AlsOptions)
    chosen = ease.choose_options(split, of_ease)
    of_slim = replace(options.of(SlimOptions), input=chosen.input, damping=chosen.damping)
    of_slim = slim.choose_options(split, of_slim)
    if als.is_tuned(data, of_als, options):
        of_als = als.choose_options(split, of_als, options)
    dense = ease.score_users(split, chosen, of_ease.dense_movies, keep=None)
    sparse = slim.score_users(split, of_slim)
    users, movies = als.fit_factors(split.known, of_als, options)
    factors = users[split.users] @ movies.T
    slim_weight, _ = choose_best(own.slim_weights, lambda one: split.measure(dense + one * sparse))
    items = dense + slim_weight * sparse
    als_weight, _ = choose_best(own.als_weights, lambda one: split.measure(items + one * factors))
    keep, loss = ease.choose_kept(split, chosen, of_ease, slim_weight * sparse + als_weight * factors)
    return HybridChoice(chosen, of_slim, of_als, slim_weight, als_weight, keep, loss)


def _spread(arrays: Mapping[str, np.ndarray], place: np.ndarray, size: int) -> dict[str, np.ndarray]:
    return spread_parts(arrays, place, size, PARTS)


CANDIDATE: Final = MovieCandidate(
    kind="hybrid",
    asset="hybrid_model",
    description="EASE^R and SLIM for the most rated movies and ALS for all, added; predicted ratings from biases.",
    algorithm="item weights (EASE^R and SLIM) for the most rated movies, plus factors (implicit ALS) for all",
    scorer=HybridScorer,
    fit=fit,
    priority=2,
    options=HybridOptions,
    folds=baseline.BIASES,
    spread=_spread,
    predicts_stars=False,
)
