"""Reranks the best movies of a list so that they differ from each other. Pure numpy."""

from __future__ import annotations

import numpy as np


def compute_pool_size(count: int, diversity: float) -> int:
    """Number of movies that a list of `count` is chosen from."""
    return count if diversity <= 0 else max(50, 4 * count)


def diversify(score: np.ndarray, similarity: np.ndarray, count: int, diversity: float) -> np.ndarray:
    """Maximal marginal relevance (Carbonell and Goldstein 1998): each next movie is good and unlike those before.

    Args:
        score: of the pool, best first, shape (n,).
        similarity: within the pool, shape (n, n), 0 to 1.
        diversity: 0 orders by score alone, 1 by difference alone.

    Returns:
        Positions in the pool, in order; at most `count`.
    """
    if len(score) <= 1:
        return np.arange(len(score))
    spread = float(score.max() - score.min())
    relevance = (score - score.min()) / spread if spread > 0 else np.ones(len(score))
    chosen: list[int] = [0]
    closest = similarity[0].astype(np.float64)
    left = np.ones(len(score), dtype=bool)
    left[0] = False
    while len(chosen) < min(count, len(score)):
        value = np.where(left, (1 - diversity) * relevance - diversity * closest, -np.inf)
        best = int(value.argmax())
        chosen.append(best)
        left[best] = False
        closest = np.maximum(closest, similarity[best])
    return np.array(chosen)
