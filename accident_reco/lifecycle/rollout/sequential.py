"""Bounds of a mean that hold at every look: confidence sequences.

A rollout is looked at all the time and ends when its evidence suffices. An ordinary interval, looked at often enough,
excludes the truth sooner or later; these bounds exclude it at any look with probability `alpha` at most.

Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
sequences", Annals of Statistics 52 (2024), Theorem 2.2 and its one-sided form: a mixture over a normal prior, with the
standard deviation estimated. The guarantee is asymptotic in the first look: there is no bound below `MIN_GROUPS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

MIN_GROUPS: Final = 100
"""Independent observations below which there is no bound: the standard deviation is not known well enough."""

BEST_AT: Final = 1000
"""Number of observations at which the bounds are tightest; elsewhere they are wider and as valid."""


@dataclass(frozen=True)
class Bounds:
    """A mean with its one-sided bounds: each holds at every look, with its own probability of error."""

    groups: int
    mean: float
    low: float
    high: float


def bounds(values: npt.NDArray[np.float64], alpha_low: float, alpha_high: float) -> Bounds:
    """Bounds of the mean of independent observations, shape (n,).

    Args:
        alpha_low: probability that the lower bound is ever above the mean.
        alpha_high: probability that the upper bound is ever below the mean.
    """
    n = len(values)
    mean = float(values.mean()) if n else 0.0
    if n < MIN_GROUPS:
        return Bounds(n, mean, -np.inf, np.inf)
    deviation = float(values.std(ddof=1))
    return Bounds(
        n,
        mean,
        mean - deviation * float(half_width(n, alpha_low)),
        mean + deviation * float(half_width(n, alpha_high)),
    )


def half_width(n: npt.ArrayLike, alpha: float) -> npt.NDArray[np.float64]:
    """Distance of a one-sided bound from the mean after `n` observations, in standard deviations."""
    count = np.asarray(n, dtype=float)
    scale = count * _prior_variance(alpha) + 1.0
    width: npt.NDArray[np.float64] = np.sqrt(
        2.0 * scale / (count * (scale - 1.0)) * np.log1p(np.sqrt(scale) / (2.0 * alpha))
    )
    return width


def _prior_variance(alpha: float) -> float:
    """Variance of the mixture whose bounds are tightest at `BEST_AT` observations."""
    level = -2.0 * np.log(2.0 * alpha)
    return float((level + np.log(level + 1.0)) / BEST_AT)


def group_means(values: npt.NDArray[np.float64], groups: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Mean of each group, shape (number of groups,): dependent rows are one observation."""
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    means: npt.NDArray[np.float64] = np.bincount(index, weights=values) / np.bincount(index)
    return means
