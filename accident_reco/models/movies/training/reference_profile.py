"""Builds a version's `reference.json`: the profile of its training ratings in the columns of drift checks."""

from __future__ import annotations

from typing import Any

import numpy as np

from accident_reco.lifecycle.reference import build_reference
from accident_reco.models.movies.data.drift_columns import KINDS, build_drift_columns
from accident_reco.models.movies.data.ratings import Ratings

MAX_ROWS = 500_000
"""Above this number of ratings the profile is of every n-th user, whole users at a time."""


def build_profile(train: Ratings, data_source: str) -> dict[str, Any]:
    """Build the reference document. Ratings of one user depend on each other, so users are its groups."""
    if len(train) > MAX_ROWS:
        users = np.unique(train.user_id)
        train = train.take(np.isin(train.user_id, users[:: int(np.ceil(len(train) / MAX_ROWS))]))
    return build_reference(
        build_drift_columns(train.movie_id, train.rating),
        KINDS,
        groups=train.user_id,
        label=train.rating.astype(np.float64),
        label_kind="numeric",
        model="movies",
        data_source=data_source,
    )
