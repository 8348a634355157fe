"""Makes a version's `reference.json`: what its training ratings look like, in the columns that drift checks watch."""

from __future__ import annotations

from typing import Any

import numpy as np

from accident_reco.lifecycle.reference import build_reference
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.training.drift_columns import KINDS, rating_columns

MAX_ROWS = 500_000
"""A profile of more ratings is taken from users chosen at even steps, whole users at a time."""


def reference(train: Ratings, data_source: str) -> dict[str, Any]:
    """The reference document. Ratings of one user resemble each other, so users are its groups."""
    if len(train) > MAX_ROWS:
        users = np.unique(train.user_id)
        train = train.take(np.isin(train.user_id, users[:: int(np.ceil(len(train) / MAX_ROWS))]))
    return build_reference(
        rating_columns(train.movie_id, train.rating),
        KINDS,
        groups=train.user_id,
        label=train.rating.astype(np.float64),
        label_kind="numeric",
        model="movies",
        data_source=data_source,
    )
