"""The kinds of movie model, one module each: how a kind is fitted, and how its arrays score.

A new kind is one module beside `svd` and one line of `CANDIDATES`; its asset, check, card and server follow from these.
Importing this package loads numpy only: training libraries are imported inside the functions that fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from accident_reco.models.movies.candidates import als, baseline, ease, hybrid, knn, slim, stack, svd
from accident_reco.models.movies.candidates.candidate import MovieCandidate
from accident_reco.models.movies.candidates.scorer import BaselineScorer

CANDIDATES: Final[Mapping[str, MovieCandidate]] = {
    module.CANDIDATE.kind: module.CANDIDATE for module in (svd, knn, baseline, als, ease, slim, hybrid, stack)
}
"""Kind → candidate, in the order of preference between equals."""


def build_scorer(arrays: Mapping[str, np.ndarray]) -> BaselineScorer:
    """Build the scorer of a bundle's arrays. Raises ValueError for a kind that this code does not know."""
    kind = str(arrays["kind"])
    if kind not in CANDIDATES:
        raise ValueError(f"bundle of kind {kind!r}: this server knows {sorted(CANDIDATES)}; update it before promoting")
    return CANDIDATES[kind].scorer(arrays)
