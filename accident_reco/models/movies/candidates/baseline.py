"""Candidate `baseline`: biases of users and movies alone, by Surprise's BaselineOnly."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from accident_reco.models.movies.candidates.candidate import Fit, FitOptions, MovieCandidate
from accident_reco.models.movies.candidates.scorer import BaselineScorer

if TYPE_CHECKING:
    from accident_reco.models.movies.candidates.trainset import IndexedRatings
    from accident_reco.models.movies.data.ratings import RatingScale


def fit(data: IndexedRatings, scale: RatingScale, options: FitOptions) -> Fit:
    """Fit BaselineOnly with Surprise's own defaults."""
    from surprise import BaselineOnly

    from accident_reco.models.movies.candidates.surprise_fit import fit_surprise

    fitted = fit_surprise(lambda compact: BaselineOnly(verbose=False), data, scale)
    return Fit(fitted.read_biases(), {"reg_u": 15, "reg_i": 10, "n_epochs": 10}, fitted.predict)


CANDIDATE: Final = MovieCandidate(
    kind="baseline",
    asset="baseline_model",
    description="Surprise BaselineOnly: biases alone.",
    algorithm="user and movie biases (Surprise BaselineOnly)",
    scorer=BaselineScorer,
    fit=fit,
)


def _fit_biases(data: IndexedRatings, scale: RatingScale, options: FitOptions) -> Fit:
    from accident_reco.models.movies.candidates.biases import fit_biases

    return Fit(fit_biases(data))


BIASES: Final = replace(CANDIDATE, fit=_fit_biases)
"""The same biases without Surprise: what folds fit for kinds that only rank, since folds measure predicted ratings."""
