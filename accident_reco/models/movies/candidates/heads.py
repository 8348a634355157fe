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
OF_CATALOGUE: Final = frozenset({"scale", "movie_id", "title_bytes", "title_end", "year", "genre_names", "genre_bits"})
OF_ROWS: Final = frozenset({"rating_count", "popularity", "user_id"})
SHARED: Final = OF_CATALOGUE | OF_ROWS
"""Arrays of the catalogue and of the training rows, the same for every kind that was fitted on the same rows."""
OWN_ROWS: Final = "own_rows"
"""Entry of the signature of a candidate that read its training rows itself."""
STARS_ROWS: Final = "stars_trained_on"
"""Entry of the signature of a version whose stars were trained on other rows than its order."""
TRAINING_USERS: Final = "training_users"
"""Number of users that the ranking head was trained on, where a bundle has not all of them."""


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


def compose_arrays(
    ranking: Mapping[str, np.ndarray], stars: Mapping[str, np.ndarray], *, own_rows: bool = False
) -> dict[str, np.ndarray]:
    """Arrays of a version whose order is one kind's and whose stars are another's.

    Args:
        own_rows: the ranking head was fitted on more rows than the stars head. Counts and popularity are then those of
            the ranking head, and the users those of both; every other user is folded in from stored ratings.

    Raises ValueError when the two were not fitted on the same movies and, without `own_rows`, on the same users.
    """
    if str(ranking["kind"]) == str(stars["kind"]):
        return dict(ranking)
    for name in OF_CATALOGUE if own_rows else SHARED:
        if not np.array_equal(ranking[name], stars[name]):
            raise ValueError(f"the heads {ranking['kind']} and {stars['kind']} differ in {name}: train both together")
    if own_rows:
        ranking, stars = _keep_common_users(ranking, stars)
    return {**ranking, **{PREFIX + name: values for name, values in stars.items() if name not in SHARED}}


def _keep_common_users(
    ranking: Mapping[str, np.ndarray], stars: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Both with the rows of the users that both have."""
    _, *rows = np.intersect1d(ranking["user_id"], stars["user_id"], assume_unique=True, return_indices=True)
    both = []
    for arrays, kept in zip((ranking, stars), rows, strict=True):
        both.append({name: one[kept] if name.startswith("user_") else one for name, one in arrays.items()})
    return {**both[0], TRAINING_USERS: np.array(len(ranking["user_id"]))}, both[1]
