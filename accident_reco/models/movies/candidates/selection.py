"""Selects the highest scores of a catalogue. Pure numpy."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

_BLOCK: Final = 128


def select_top(score: np.ndarray, count: int) -> np.ndarray:
    """Positions of the `count` highest scores, best first, equal ones in ascending position; -inf never."""
    count = min(count, len(score))
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    best = np.flatnonzero(score >= _lower_bound(score, count))
    best = best[np.argsort(-score[best], kind="stable")][:count]
    return best[np.isfinite(score[best])]


def select_best(score: np.ndarray, allowed: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and scores of the `count` highest scores of a mask, in the order of `select_top`."""
    rows = select_top(np.where(allowed, score, -np.inf), count)
    return rows, score[rows]


def _lower_bound(score: np.ndarray, count: int) -> Any:
    """A score that at least `count` reach, and not many more: the `count`th of the maxima of blocks.

    Partitioning the whole catalogue would take longer than scoring a tenth of it.
    """
    blocks = len(score) // _BLOCK
    if blocks <= count:
        return np.partition(score, len(score) - count)[len(score) - count]
    best = score[: blocks * _BLOCK].reshape(blocks, _BLOCK).max(axis=1)
    return np.partition(best, blocks - count)[blocks - count]
