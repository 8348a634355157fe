"""The ratings of one user, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class History:
    """Ratings of one user, columns of one length.

    Args:
        movie_id: int64.
        rating: stars, float32.
        rated_at: seconds since 1970 UTC, int64.
        newer: whether some were received after the version's training rows were read.
    """

    movie_id: np.ndarray
    rating: np.ndarray
    rated_at: np.ndarray
    newer: bool = False

    @classmethod
    def from_ratings(cls, movie_id: Sequence[int], rating: Sequence[float]) -> History:
        """Build from ratings without times, all equally old."""
        times = np.zeros(len(movie_id), dtype=np.int64)
        return cls(np.asarray(movie_id, dtype=np.int64), np.asarray(rating, dtype=np.float32), times)

    def __len__(self) -> int:
        return len(self.movie_id)


EMPTY_HISTORY = History.from_ratings([], [])
