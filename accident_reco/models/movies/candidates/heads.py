"""The two heads of a version: one orders the movies, one predicts stars; and their arrays in one bundle. Numpy only.

A bundle holds the arrays of its ranking head under their own names, as a bundle of a single kind does, and those of
another stars head with the prefix `stars_`. Bundles without the latter, older ones among them, have one head for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from accident_reco.models.movies.candidates import build_scorer
from accident_reco.models.movies.candidates.scorer import BaselineScorer

PREFIX: Final = "stars_"
SHARED: Final = frozenset(
    {
        "scale",
        "movie_id",
        "title_bytes",
        "title_end",
        "year",
        "genre_names",
        "genre_bits",
        "rating_count",
        "popularity",
        "user_id",
    }
)
"""Arrays of the catalogue and of the training rows, the same for every kind that was fitted on the same rows."""


@dataclass(frozen=True)
class Heads:
    """Scorers of a version; the same object twice where one kind does both."""

    ranking: BaselineScorer
    stars: BaselineScorer


def build_heads(arrays: Mapping[str, np.ndarray]) -> Heads:
    """Build the scorers of a bundle's arrays. Raises ValueError for a kind that this code does not know."""
    ranking = build_scorer(arrays)
    if f"{PREFIX}kind" not in arrays:
        return Heads(ranking, ranking)
    own = {name.removeprefix(PREFIX): values for name, values in arrays.items() if name.startswith(PREFIX)}
    return Heads(ranking, build_scorer({**{name: arrays[name] for name in SHARED if name in arrays}, **own}))


def compose_arrays(ranking: Mapping[str, np.ndarray], stars: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of a version whose order is one kind's and whose stars are another's.

    Raises ValueError when the two were not fitted on the same users and movies.
    """
    if str(ranking["kind"]) == str(stars["kind"]):
        return dict(ranking)
    for name in SHARED:
        if not np.array_equal(ranking[name], stars[name]):
            raise ValueError(f"the heads {ranking['kind']} and {stars['kind']} differ in {name}: train both together")
    return {**ranking, **{PREFIX + name: values for name, values in stars.items() if name not in SHARED}}
