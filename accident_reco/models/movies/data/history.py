"""What one person has rated, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class History:
    """A person's ratings by movie id, and whether some came after the version's training rows were read."""

    movie_id: np.ndarray
    rating: np.ndarray
    rated_at: np.ndarray
    newer: bool = False

    @classmethod
    def of(
        cls,
        movie_id: Sequence[int],
        rating: Sequence[float],
        rated_at: Sequence[int] | None = None,
        newer: bool = False,
    ) -> History:
        """From plain sequences; without times all ratings are equally old."""
        times = np.zeros(len(movie_id), dtype=np.int64) if rated_at is None else np.asarray(rated_at, dtype=np.int64)
        return cls(np.asarray(movie_id, dtype=np.int64), np.asarray(rating, dtype=np.float32), times, newer)

    def __len__(self) -> int:
        return len(self.movie_id)


NOTHING = History.of([], [])
