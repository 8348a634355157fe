"""From margins to probabilities, a class and an uncertainty flag, fitted on out-of-fold margins of real rows only.

Their share of severe injuries is the real one, so probabilities are corrected for synthetic rows in training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.scoring.scorer import DecisionRule
from accident_reco.models.accidents.training.metrics import log_loss

KNOTS: Final = 256
FOLDS: Final = 5
SPLINE_QUANTILES: Final = (0.02, 0.25, 0.5, 0.75, 0.9, 0.98)

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
    curve = _fit_best_curve(x, y, seed)
    probability = np.interp(x, *curve)
    low, high = compute_conformal_bounds(probability, y, coverage)
    return DecisionRule(*curve, find_cheapest_threshold(probability, y, miss_cost), low, high, coverage)


def _fit_best_curve(x: Array, y: NDArray[np.integer], seed: int) -> Curve:
    """The curve of the kind with the lowest cross-validated log loss, fitted on all rows."""
    fold = np.random.default_rng(seed).permutation(len(x)) % FOLDS

    def measure(fit: Callable[[Array, NDArray[np.integer]], Curve]) -> float:
        held_out = np.empty(len(x))
        for k in range(FOLDS):
            held_out[fold == k] = np.interp(x[fold == k], *fit(x[fold != k], y[fold != k]))
        return log_loss(y, held_out)

    return min((fit_platt, fit_beta, fit_spline, fit_isotonic), key=measure)(x, y)


def fit_platt(x: Array, y: NDArray[np.integer]) -> Curve:
    """Logistic curve of (margin, margin²) as (knots, values), made monotone (Platt 1999)."""
    return _fit_logistic_curve(x, y, lambda z: [z, z * z])


def fit_beta(x: Array, y: NDArray[np.integer]) -> Curve:
    """Beta calibration: logistic curve of log p and log (1 - p) of the scaled margin's sigmoid p (Kull et al. 2017)."""
    return _fit_logistic_curve(x, y, lambda z: [-np.logaddexp(0, -2 * z), np.logaddexp(0, 2 * z)])


def fit_spline(x: Array, y: NDArray[np.integer]) -> Curve:
    """Logistic curve of a natural cubic spline of the margin: linear beyond its knots (Hastie et al. 2009, 5.2)."""
    centre, scale = _standardise(x)
    places = np.unique((np.quantile(x, SPLINE_QUANTILES) - centre) / scale)

    def build_basis(z: Array) -> list[Array]:
        if len(places) < 3:
            return [z]
        cubes = [np.maximum(z - place, 0) ** 3 for place in places]
        slopes = [(cubes[k] - cubes[-1]) / (places[-1] - places[k]) for k in range(len(places) - 1)]
        return [z, *(slope - slopes[-1] for slope in slopes[:-1])]

    return _fit_logistic_curve(x, y, build_basis)


def _standardise(x: Array) -> tuple[float, float]:
    return float(x.mean()), max(float(x.std()), 1e-9)


def _fit_logistic_curve(x: Array, y: NDArray[np.integer], build_basis: Callable[[Array], list[Array]]) -> Curve:
    """Logistic curve of functions of the scaled margin with Platt's smoothed targets, made monotone.

    Newton's method (Lin, Lin & Weng 2007) with a small ridge.
    """
    positives = int(y.sum())
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (len(y) - positives + 2))
    centre, scale = _standardise(x)

    def design(values: Array) -> Array:
        z = (values - centre) / scale
        return np.stack([np.ones_like(z), *build_basis(z)], axis=1)

    inputs = design(x)
    weights, ridge = np.zeros(inputs.shape[1]), 1e-3 * np.eye(inputs.shape[1])
    for _ in range(50):
        probability = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        gradient = inputs.T @ (probability - target) + ridge @ weights
        curvature = (inputs * (probability * (1 - probability))[:, None]).T @ inputs + ridge
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-10:
            break
    low, high = float(x.min()), float(x.max())
    margin = 0.25 * max(high - low, 1e-9)
    knots = np.linspace(low - margin, high + margin, KNOTS)
    curve = 1 / (1 + np.exp(-np.clip(design(knots) @ weights, -30, 30)))
    # The curve may have an extremum outside of the data: from the middle outwards it is made monotone.
    middle = int(np.searchsorted(knots, centre))
    curve[middle:] = np.maximum.accumulate(curve[middle:])
    curve[: middle + 1] = np.minimum.accumulate(curve[: middle + 1][::-1])[::-1]
    return _round_curve(knots, curve)


def fit_isotonic(x: Array, y: NDArray[np.integer]) -> Curve:
    """Centred isotonic regression as (knots, values): blocks at their mean margin, linear between to keep ranks."""
    # Rows of equal margin are one block from the start: nothing separates them.
    places, block, rows = np.unique(x, return_inverse=True, return_counts=True)
    rates = np.bincount(block, y) / rows
    means: list[float] = []
    centres: list[float] = []
    sizes: list[int] = []
    for place, rate, size in zip(places.tolist(), rates.tolist(), rows.tolist(), strict=True):
        means.append(rate)
        centres.append(place)
        sizes.append(size)
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


def compute_conformal_bounds(
    p: Array, y: NDArray[np.integer], coverage: float, margin: float = 0.0
) -> tuple[float, float]:
    """Probabilities (from, to) between which neither class can be excluded; from >= to: no row is uncertain.

    Class-conditional split conformal prediction (Vovk 2012): a class is excluded only where fewer than 1 - coverage of
    its own validation rows have a probability as extreme.

    Args:
        coverage: share of each class that is not excluded.
        margin: standard errors of the coverage, of as many rows as the class has here, by which it is exceeded.
    """
    severe, light = np.sort(p[y == 1]), np.sort(p[y == 0])
    # Finite-sample quantile: rank floor((n + 1)(1 - coverage)) from the excluded end.
    k_severe, k_light = (_find_rank(len(values), coverage, margin) for values in (severe, light))
    severe_from = float(severe[k_severe - 1]) if 0 < k_severe <= len(severe) else 0.0
    light_to = float(light[len(light) - k_light]) if 0 < k_light <= len(light) else 1.0
    return severe_from, light_to


def _find_rank(rows: int, coverage: float, margin: float) -> int:
    error = margin * np.sqrt(coverage * (1 - coverage) / max(rows, 1))
    return int(np.floor((rows + 1) * max(1 - coverage - error, 0.0)))
