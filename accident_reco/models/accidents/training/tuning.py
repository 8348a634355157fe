"""Parameter search within a budget of seconds: successive halving over folds of training rows.

All draws are evaluated on the first fold, the best third of them on the second, and so on, so that most time goes to
promising ones (Jamieson & Talwalkar 2016). The current parameters take part and are kept unless another draw is better
on the same folds. Folds consist of whole training accidents, without those of validation and holdout.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.training.export import compute_margins
from accident_reco.models.accidents.training.fitting import (
    BoostingParameters,
    ForestParameters,
    Parameters,
    TrainingRows,
    fit,
    get_algorithm,
)
from accident_reco.models.accidents.training.metrics import roc_auc
from accident_reco.models.accidents.training.soft_labels import assign_folds

# Searched values; all other parameters keep theirs.
SPACE: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "forest": {"leaf": (5, 7, 10, 14, 20), "features": (0.15, 0.2, 0.3, 0.45), "rows": (0.4, 0.6, 0.8)},
    "boosting": {
        "leaves": (31, 47, 63),
        "leaf": (20, 40, 80, 160),
        "features": (0.2, 0.3, 0.4, 0.5),
        "rows": (0.6, 0.8, 1.0),
        "l2": (1.0, 5.0, 20.0),
    },
}
FOLDS: Final = 4
REDUCTION_FACTOR: Final = 3
MAX_TRIALS: Final = 60
WARM_UP_ROWS: Final = 200


@dataclass(frozen=True)
class Trial:
    """One draw with its ROC AUC by fold, as far as it was evaluated; the first trial has the current parameters."""

    parameters: dict[str, Any]
    roc_auc: tuple[float, ...]


@dataclass(frozen=True)
class SearchResult:
    """Outcome of a search: the values chosen from `SPACE`, and every trial behind the choice."""

    chosen: dict[str, Any]
    trials: tuple[Trial, ...]
    seconds: float

    @property
    def gain(self) -> float:
        """Gain of mean ROC AUC over the current parameters, on the folds of the chosen trial; 0 when they are kept."""
        best = next(trial for trial in self.trials if trial.parameters == self.chosen)
        folds = len(best.roc_auc)
        return float(np.mean(best.roc_auc) - np.mean(self.trials[0].roc_auc[:folds]))

    def document(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return {**asdict(self), "gain": self.gain}


Objective = Callable[[Mapping[str, Any], int], float]
"""(values from `SPACE`, fold) → ROC AUC on that fold."""


def search(
    objective: Objective,
    start: Mapping[str, Any],
    space: Mapping[str, Sequence[Any]],
    seconds: float,
    seed: int,
    clock: Callable[[], float] = time.monotonic,
) -> SearchResult:
    """Successive halving within `seconds`; the cost of the first evaluation determines the number of draws.

    No evaluation begins after the budget is spent, except those of the current parameters on folds that are compared.
    """
    began = clock()
    scores: list[list[float]] = [[objective(start, 0)]]
    cost = max(clock() - began, 1e-3)
    # A third of the draws remains after each fold: the later folds together cost half as much as the first one.
    draws = int(min(max(seconds / cost / 1.5, 1), MAX_TRIALS))
    trials = [dict(start), *_draw_points(start, space, draws - 1, seed)]
    scores += [[] for _ in trials[1:]]
    alive = list(range(len(trials)))
    for fold in range(FOLDS):
        for number in alive:
            late = clock() - began >= seconds
            if len(scores[number]) <= fold and (number == 0 or not late):
                scores[number].append(objective(trials[number], fold))
        # Draws that were not evaluated in time drop out, as do those below the best third.
        evaluated = [number for number in alive if len(scores[number]) > fold]
        ranked = sorted(evaluated, key=lambda number: -float(np.mean(scores[number])))
        alive = sorted({0, *ranked[: max(len(ranked) // REDUCTION_FACTOR, 1)]})
        if alive == [0] or clock() - began >= seconds:
            break
    best = max(alive, key=lambda number: (float(np.mean(scores[number])), -number))
    evaluated_trials = [Trial(trials[n], tuple(scores[n])) for n in range(len(trials)) if scores[n]]
    return SearchResult(trials[best], tuple(evaluated_trials), clock() - began)


def _draw_points(
    start: Mapping[str, Any], space: Mapping[str, Sequence[Any]], count: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Distinct points of the space other than `start`, in a seeded order."""
    points = [dict(zip(space, values, strict=True)) for values in product(*space.values())]
    order = np.random.default_rng(seed).permutation(len(points))
    others = (points[position] for position in order if points[position] != dict(start))
    return (point for _, point in zip(range(count), others, strict=False))


def tune(
    rows: TrainingRows,
    num_acc: NDArray[np.int64],
    scored: NDArray[np.bool_],
    start: Parameters,
    seconds: float,
    seed: int,
    jobs: int,
) -> SearchResult:
    """Search the space of the algorithm on training rows with their recorded labels.

    Args:
        rows: real rows, with and without simulated missing values; `y` is the recorded label, since a soft label
            depends on labels of the fold that it is evaluated on.
        num_acc: accident number of each row, shape (n,).
        scored: rows that are scored, shape (n,): those without simulated missing values.
        start: the current parameters.
    """
    space = SPACE[get_algorithm(start)]
    fold = assign_folds(num_acc, FOLDS, seed)
    reduced = reduce_cost(start)

    def objective(values: Mapping[str, Any], number: int) -> float:
        inside, outside = fold != number, (fold == number) & scored
        trees = fit(rows.select(inside), replace(reduced, **values), seed, jobs)
        return roc_auc(rows.y[outside], compute_margins(trees, rows.x[outside]))

    # The libraries load at their first call, which must not count as the cost of an evaluation.
    few = rows.select(np.arange(len(rows.y)) < WARM_UP_ROWS)
    compute_margins(fit(few, reduced, seed, 1), few.x)
    return search(objective, {name: getattr(start, name) for name in space}, space, seconds, seed)


def reduce_cost(parameters: Parameters) -> Parameters:
    """Parameters of comparable behaviour at a fraction of the cost: fewer trees; half the rounds at twice the rate."""
    if isinstance(parameters, ForestParameters):
        return replace(parameters, trees=max(parameters.trees // 6, 10))
    return replace(parameters, members=1, rounds=max(parameters.rounds // 2, 20), rate=parameters.rate * 2)


def find_values_outside_space(algorithm: str, chosen: Mapping[str, Any]) -> list[str]:
    """Names `algorithm.parameter` of values that are neither in the declared space nor the default."""
    default = ForestParameters() if algorithm == "forest" else BoostingParameters()
    space = SPACE[algorithm]
    names = sorted(set(chosen) ^ set(space))
    names += [
        name
        for name, values in space.items()
        if name in chosen and chosen[name] not in (*values, getattr(default, name))
    ]
    return [f"{algorithm}.{name}" for name in names]
