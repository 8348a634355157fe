"""Computes how well liked each movie is, the ranking for unknown users: a damped mean in which old ratings fade."""

from __future__ import annotations

import numpy as np


def compute_popularity(weight: np.ndarray, stars: np.ndarray, *, damping: float) -> np.ndarray:
    """Weighted mean of each movie's stars, pulled to the overall mean by `damping` average ratings.

    score(m) = (Σ w·r + damping·μ) / (Σ w + damping), with the weights of `RatingTotals`.

    Args:
        weight, stars: Σ w and Σ w·r of each movie, shape (movies,).

    Returns:
        Stars, float32, shape (movies,). A movie without ratings gets the overall mean.
    """
    if not weight.any():
        return np.zeros(len(weight), dtype=np.float32)
    mean = float(stars.sum() / weight.sum())
    return ((stars + damping * mean) / (weight + damping)).astype(np.float32)
