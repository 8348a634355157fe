"""Numbers of the movie model for `GET /stats`: data, and how varied the latest recommendations are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from accident_reco.contract import Platform
from accident_reco.models.movies.data.queries import count_data
from accident_reco.storage.prediction_log import prediction_window

if TYPE_CHECKING:
    from accident_reco.models.movies.scoring.recommender import Recommender

MAX_LISTS: Final = 500
"""Latest lists of the prediction log that diversity and coverage are of."""


def compute_statistics(platform: Platform, model: str, version: Recommender | None) -> dict[str, Any]:
    """Counts of ratings, users and movies; diversity and coverage of the latest lists, null without any."""
    logged = prediction_window(platform.warehouse, model, limit=MAX_LISTS)
    lists = [movies for row in logged if (movies := (row["answer"] or {}).get("movies"))]
    measured = measure_lists(version, lists) if version is not None else {"diversity": None, "coverage": None}
    return {**count_data(platform.warehouse), "lists": len(lists), **measured}


def measure_lists(version: Recommender, lists: Sequence[Sequence[int]]) -> dict[str, float | None]:
    """Variety of lists of movie ids; ids that the version does not know are left out.

    Returns:
        `diversity`: 1 - mean similarity of two movies of a list, mean over lists of at least two; `coverage`: share of
        the version's rated movies that are in any list. None where no list counts.
    """
    distances, seen = [], set()
    for ids in lists:
        rows, known = version.movies.find_positions(np.asarray(ids, dtype=np.int64))
        rows = rows[known]
        seen.update(rows.tolist())
        if len(rows) > 1:
            similar = version.compute_similarity(rows)
            pairs = len(rows) * (len(rows) - 1)
            distances.append(1.0 - (similar.sum() - np.trace(similar)) / pairs)
    rated = version.count_rated()
    return {
        "diversity": round(float(np.mean(distances)), 4) if distances else None,
        "coverage": round(len(seen) / rated, 4) if seen and rated else None,
    }
