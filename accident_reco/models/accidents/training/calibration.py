"""From margins to probabilities, a class and an uncertainty flag, fitted on real validation rows only.

Their share of severe injuries is the real one, so probabilities are corrected for synthetic rows in training.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.scoring.scorer import DecisionRule
from accident_reco.models.accidents.training.metrics import log_loss

KNOTS: Final = 128
FOLDS: Final = 5

Array = NDArray[np.float64]
Curve = tuple[Array, Array]


def fit_decision_rule(
    margin: NDArray[np.floating], y: NDArray[np.integer], miss_cost: float, coverage: float, seed: int
) -> DecisionRule:
    """Calibration curve, threshold and conformal bounds from the margins of validation rows, shape (n,).

    Args:
        miss_cost: cost of a missed severe injury in false alarms.
        coverage: share of each class whose true class must not be excluded.
    """
    x = np.asarray(margin, dtype=np.float64)
    curve = _fit_better_curve(x, y, seed)
    probability = np.interp(x, *curve)
    low, high = compute_conformal_bounds(probability, y, coverage)
    return DecisionRule(*curve, find_cheapest_threshold(probability, y, miss_cost), low, high, coverage)


def _fit_better_curve(x: Array, y: NDArray[np.integer], seed: int) -> Curve:
    """The Platt or the isotonic curve, whichever has the lower cross-validated log loss."""
    fold = np.random.default_rng(seed).permutation(len(x)) % FOLDS
    losses = {}
    for name, fit in (("platt", fit_platt), ("isotonic", fit_isotonic)):
        held_out = np.empty(len(x))
        for k in range(FOLDS):
            held_out[fold == k] = np.interp(x[fold == k], *fit(x[fold != k], y[fold != k]))
        losses[name] = log_loss(y, held_out)
    return fit_platt(x, y) if losses["platt"] <= losses["isotonic"] else fit_isotonic(x, y)


def fit_platt(x: Array, y: NDArray[np.integer]) -> Curve:
    """Logistic curve of (margin, margin²) with Platt's smoothed targets, as (knots, values), made monotone.

    Newton's method on three coefficients (Platt 1999; Lin, Lin & Weng 2007).
    """
    positives = int(y.sum())
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (len(y) - positives + 2))
    centre, scale = x.mean(), max(float(x.std()), 1e-9)

    def design(values: Array) -> Array:
        z = (values - centre) / scale
        return np.stack([np.ones_like(z), z, z * z], axis=1)

    inputs, weights = design(x), np.zeros(3)
    for _ in range(50):
        probability = 1 / (1 + np.exp(-(inputs @ weights)))
        gradient = inputs.T @ (probability - target) + 1e-3 * weights
        curvature = (inputs * (probability * (1 - probability))[:, None]).T @ inputs + 1e-3 * np.eye(3)
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-10:
            break
    low, high = float(x.min()), float(x.max())
    margin = 0.25 * max(high - low, 1e-9)
    knots = np.linspace(low - margin, high + margin, KNOTS)
    curve = 1 / (1 + np.exp(-(design(knots) @ weights)))
    # The parabola may have its extremum outside of the data: from the middle outwards the curve is made monotone.
    middle = int(np.searchsorted(knots, centre))
    curve[middle:] = np.maximum.accumulate(curve[middle:])
    curve[: middle + 1] = np.minimum.accumulate(curve[: middle + 1][::-1])[::-1]
    return _round_curve(knots, curve)


def fit_isotonic(x: Array, y: NDArray[np.integer]) -> Curve:
    """Centred isotonic regression as (knots, values): blocks at their mean margin, linear between to keep ranks."""
    order = np.argsort(x, kind="stable")
    means: list[float] = []
    centres: list[float] = []
    sizes: list[int] = []
    for margin, label in zip(x[order].tolist(), y[order].tolist(), strict=True):
        means.append(float(label))
        centres.append(margin)
        sizes.append(1)
        while len(means) > 1 and means[-2] >= means[-1]:
            total = sizes[-2] + sizes[-1]
            for values in (means, centres):
                last = values.pop()
                values[-1] = (values[-1] * sizes[-2] + last * sizes[-1]) / total
            sizes.pop()
            sizes[-1] = total
    return _round_curve(np.array(centres), np.clip(np.array(means), 1e-4, 1 - 1e-4))


def _round_curve(x: Array, y: Array) -> Curve:
    # Twelve digits: the last ones differ between processors and would change the version id.
    knots = np.array([float(f"{value:.12g}") for value in x.tolist()])
    values = np.array([float(f"{value:.12g}") for value in y.tolist()])
    keep = np.append(True, np.diff(knots) > 0)
    return knots[keep], values[keep]


def find_cheapest_threshold(p: Array, y: NDArray[np.integer], miss_cost: float) -> float:
    """Threshold of minimum cost on these rows, where a miss costs `miss_cost` and a false alarm 1.

    The cost curve is flat and noisy around its minimum, so the theoretical optimum of calibrated probabilities,
    1 / (1 + miss_cost), is returned unless another threshold is more than one percent cheaper.
    """
    ideal = 1 / (1 + miss_cost)
    grid = np.unique(np.round(np.append(np.linspace(0.02, 0.9, 89), ideal), 4))
    positive = p[None, :] >= grid[:, None]
    cost = miss_cost * (~positive & (y == 1)).sum(axis=1) + (positive & (y == 0)).sum(axis=1)
    ideal_cost = miss_cost * int(((p < ideal) & (y == 1)).sum()) + int(((p >= ideal) & (y == 0)).sum())
    best = int(np.argmin(cost))
    return float(grid[best]) if cost[best] < 0.99 * ideal_cost else float(round(ideal, 6))


def compute_conformal_bounds(p: Array, y: NDArray[np.integer], coverage: float) -> tuple[float, float]:
    """Probabilities (from, to) between which neither class can be excluded; from >= to: no row is uncertain.

    Class-conditional split conformal prediction (Vovk 2012): a class is excluded only where fewer than 1 - coverage of
    its own validation rows have a probability as extreme.
    """
    severe, light = np.sort(p[y == 1]), np.sort(p[y == 0])
    # Finite-sample quantile: rank floor((n + 1)(1 - coverage)) from the excluded end.
    k_severe, k_light = (int(np.floor((len(values) + 1) * (1 - coverage))) for values in (severe, light))
    severe_from = float(severe[k_severe - 1]) if 0 < k_severe <= len(severe) else 0.0
    light_to = float(light[len(light) - k_light]) if 0 < k_light <= len(light) else 1.0
    return severe_from, light_to
