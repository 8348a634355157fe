"""Scores movies for one person from a bundle's arrays, numpy only: one head per kind of model.

`Taste` is what a head knows of a person: taken from the bundle (a user it was trained on) or folded in from ratings.
`rating` predicts stars, `ranking` orders the catalogue; SVD, KNN and the baseline order by predicted stars, ALS by a
score of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from accident_reco.models.movies.scoring.scorers.base import (
    MAX_HISTORY,
    MAX_STORED_HISTORY,
    BaselineHead,
    Histories,
    Taste,
)
from accident_reco.models.movies.scoring.scorers.factors import AlsHead, FactorHead
from accident_reco.models.movies.scoring.scorers.neighbours import NeighbourHead

__all__ = ["HEADS", "MAX_HISTORY", "MAX_STORED_HISTORY", "BaselineHead", "FactorHead", "Histories", "Taste", "head_of"]

HEADS: Final[Mapping[str, type[BaselineHead]]] = {
    "svd": FactorHead,
    "knn": NeighbourHead,
    "baseline": BaselineHead,
    "biases": BaselineHead,
    "als": AlsHead,
}


def head_of(arrays: Mapping[str, np.ndarray]) -> BaselineHead:
    """The head for a bundle's arrays. Raises ValueError for a kind that this code does not know."""
    kind = str(arrays["kind"])
    if kind not in HEADS:
        raise ValueError(f"bundle of kind {kind!r}: this server knows {sorted(HEADS)}; update it before promoting")
    return HEADS[kind](arrays)
