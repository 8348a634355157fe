"""Turns scores into a short list: the best, or the best that are not all alike. Pure numpy."""

from typing import Any, Final

import numpy as np

_BLOCK: Final = 128


def pool_size(count: int, diversity: float) -> int:
    """How many candidates a list of `count` is chosen from."""
    return count if diversity <= 0 else max(50, 4 * count)


def top(score: np.ndarray, count: int) -> np.ndarray:
    """Positions of the `count` highest scores, best first, equal ones in ascending position; -inf never."""
    count = min(count, len(score))
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    best = np.flatnonzero(score >= _surely_among(score, count))
    best = best[np.argsort(-score[best], kind="stable")][:count]
    return best[np.isfinite(score[best])]


def _surely_among(score: np.ndarray, count: int) -> Any:
    """A score that at least `count` reach, and not many more: the `count`th of the blocks' best ones.

    Partitioning the whole catalogue would take longer than scoring a tenth of it.
    """
    blocks = len(score) // _BLOCK
    if blocks <= count:
        return np.partition(score, len(score) - count)[len(score) - count]
    best = score[: blocks * _BLOCK].reshape(blocks, _BLOCK).max(axis=1)
    return np.partition(best, blocks - count)[blocks - count]


def best(score: np.ndarray, allowed: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and scores of the `count` highest scores of a mask, as `top` orders them."""
    rows = top(np.where(allowed, score, -np.inf), count)
    return rows, score[rows]


def diversify(score: np.ndarray, alike: np.ndarray, count: int, diversity: float) -> np.ndarray:
    """Maximal marginal relevance (Carbonell and Goldstein 1998): each next pick is good and unlike those before.

    Args:
        score: of the candidates, best first, shape (n,).
        alike: likeness among them, shape (n, n), 0 to 1.
        diversity: 0 orders by score alone, 1 by difference alone.

    Returns:
        Which candidates, in order.
    """
    if len(score) <= 1:
        return np.arange(len(score))
    spread = float(score.max() - score.min())
    relevance = (score - score.min()) / spread if spread > 0 else np.ones(len(score))
    chosen: list[int] = [0]
    closest = alike[0].astype(np.float64)
    left = np.ones(len(score), dtype=bool)
    left[0] = False
    while len(chosen) < min(count, len(score)):
        value = np.where(left, (1 - diversity) * relevance - diversity * closest, -np.inf)
        best = int(value.argmax())
        chosen.append(best)
        left[best] = False
        closest = np.maximum(closest, alike[best])
    return np.array(chosen)
