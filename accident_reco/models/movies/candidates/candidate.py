"""What a kind of movie model is: its asset, its fit and its scorer. The kinds themselves are the modules beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from accident_reco.models.movies.candidates.scorer import BaselineScorer

if TYPE_CHECKING:
    from accident_reco.models.movies.candidates.spark_fit import SparkCluster
    from accident_reco.models.movies.candidates.trainset import IndexedRatings
    from accident_reco.models.movies.data.rating_totals import RatingTotals
    from accident_reco.models.movies.data.ratings import RatingScale

OptionsT = TypeVar("OptionsT")
MAX_NARROW: Final = 2**16
"""Movies of a catalogue whose positions fit into 16 bits."""


@dataclass(frozen=True)
class FitOptions:
    """What candidates are fitted with.

    Args:
        threads: used by fits that can; changes nothing but the time.
        tune: whether kinds that can choose their hyperparameters on an inner split; else those that it starts from.
        hyperparameters: options of single kinds (such as `SvdOptions`) where they differ from the kind's defaults.
        spark: the cluster that fits the kinds that can; None: this machine does.
    """

    seed: int = 20260101
    threads: int = 2
    tune: bool = True
    hyperparameters: tuple[Any, ...] = ()
    spark: SparkCluster | None = None

    def of(self, options: type[OptionsT]) -> OptionsT:
        """Options of one kind, by their class."""
        return next((one for one in self.hyperparameters if isinstance(one, options)), options())


@dataclass(frozen=True)
class FitSample:
    """What a fit learned from a part of its ratings: whole users, chosen by hash.

    Args:
        purpose: one word, such as `similarities`.
        ratings, of: the ratings that it was learned from, and all of them.
    """

    purpose: str
    ratings: int
    of: int


def list_samples(purpose: str, ratings: int, of: int) -> tuple[FitSample, ...]:
    """The sample of so many of so many ratings; none where all were used."""
    return (FitSample(purpose, ratings, of),) if ratings < of else ()


@dataclass(frozen=True)
class Fit:
    """Result of a fit.

    Args:
        arrays: over the users and movies of the training rows. Every kind has `user_bias`, `movie_bias` (float64) and
            `global_mean`, from which predicted ratings start. Names that begin with `movie_` are over movies.
        options: recorded in the bundle as `option_<name>`, for the scorer.
        predict: (user id, movie id) → unclipped stars by the library itself, for parity checks; None: none to compare.
        pruning_loss: NDCG@10 that served weights lose to the fitted ones, on the inner split; None: none was pruned.
        folds: RMSE and MAE of each fold of the cross-validation, where the fit makes these folds itself.
        history: metric → its value in each epoch, or of each trial of hyperparameters, for the tracker.
        totals: of the rows that it was fitted on, where the fit read them itself; its arrays are over their users and
            movies. None: the rows that it was given.
        samples: what was learned from a part of the ratings, since all of them take too long or do not fit in memory.
    """

    arrays: dict[str, np.ndarray]
    options: Mapping[str, float] = field(default_factory=dict)
    predict: Callable[[int, int], float] | None = None
    pruning_loss: float | None = None
    folds: Sequence[dict[str, float]] | None = None
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    totals: RatingTotals | None = None
    samples: tuple[FitSample, ...] = ()


def spread_movies(arrays: Mapping[str, np.ndarray], place: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Spread arrays over movies to a catalogue: position m becomes `place[m]` of `size`, zero for all other movies."""
    spread = dict(arrays)
    for name, values in arrays.items():
        if name.startswith("movie_"):
            spread[name] = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
            spread[name][place] = values
    return spread


def narrow_positions(position: np.ndarray, size: int) -> np.ndarray:
    """Positions of a catalogue of `size` movies as a bundle holds them: uint16 where that suffices, else int32."""
    return position.astype(np.uint16 if size <= MAX_NARROW else np.int32)


@dataclass(frozen=True)
class MovieCandidate:
    """One kind of movie model.

    Args:
        asset, description, priority: of its Dagster asset, as in `contract.Candidate`.
        algorithm: what it is, for the model card.
        scorer: scores from the arrays of a bundle, numpy only.
        fit: fits the rows with the options; the same input gives the same arrays.
        options: class of its hyperparameters, whose defaults it is fitted with.
        folds: what cross-validation fits instead, where predicted ratings do not need the whole fit.
        spread: spreads the arrays of the fit over the movies of the catalogue.
        ranks, predicts_stars: whether a version may take its order, its predicted ratings, from this kind.
    """

    kind: str
    asset: str
    description: str
    algorithm: str
    scorer: type[BaselineScorer]
    fit: Callable[[IndexedRatings, RatingScale, FitOptions], Fit]
    priority: int = 0
    options: type[Any] | None = None
    folds: MovieCandidate | None = None
    spread: Callable[[Mapping[str, np.ndarray], np.ndarray, int], dict[str, np.ndarray]] = spread_movies
    ranks: bool = True
    predicts_stars: bool = True

    def describe_options(self, options: FitOptions) -> dict[str, float]:
        """Its hyperparameters as a signature records them: `<kind>_<name>` → value."""
        if self.options is None:
            return {}
        return {f"{self.kind}_{name}": value for name, value in asdict(options.of(self.options)).items()}
