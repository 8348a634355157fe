"""Fits one kind of model and keeps the result as plain arrays; nothing here ever pickles."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from accident_reco.models.movies.candidates.candidate import Fit, FitOptions, MovieCandidate
from accident_reco.models.movies.candidates.trainset import IndexedRatings
from accident_reco.models.movies.data.ratings import RatingScale


@dataclass(frozen=True)
class FittedModel:
    """A fitted candidate: its arrays over the users and movies of its training rows, and the seconds of the fit.

    Args:
        rows: number of its training rows.
    """

    candidate: MovieCandidate
    user_ids: np.ndarray
    movie_ids: np.ndarray
    fit: Fit
    fit_seconds: float
    rows: int

    def spread(self, place: np.ndarray, size: int) -> Mapping[str, np.ndarray]:
        """Arrays over the `size` movies of a catalogue, movie m of the model being at `place[m]`."""
        return self.candidate.spread(self.fit.arrays, place, size)


def fit(candidate: MovieCandidate, data: IndexedRatings, scale: RatingScale, options: FitOptions) -> FittedModel:
    """Fit one candidate, seeded. Raises ValueError when there are no ratings."""
    if not len(data):
        raise ValueError(
            f"no ratings to fit {candidate.kind} on: lower the minimum ratings per user and movie, or add data"
        )
    started = time.perf_counter()
    fitted = candidate.fit(data, scale, options)
    seconds = time.perf_counter() - started
    if fitted.totals is not None:
        own = fitted.totals
        return FittedModel(candidate, own.user_ids, own.movie_ids, fitted, seconds, own.rows)
    return FittedModel(candidate, data.user_ids, data.movie_ids, fitted, seconds, len(data))
