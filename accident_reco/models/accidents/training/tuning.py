"""Searches better parameters within a budget of seconds: successive halving over folds of training people.

All draws are judged on the first fold, the best third of them on the second, and so on, so that most time goes to those
that deserve it (Jamieson & Talwalkar 2016). The parameters in use take part and win unless beaten on the same folds.
Folds are of whole accidents, of training people other than those of validation; nobody of the holdout is near.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.training.export import margins
from accident_reco.models.accidents.training.fitting import (
    BoostingParameters,
    ForestParameters,
    Parameters,
    TrainingRows,
    algorithm_of,
    fit,
)
from accident_reco.models.accidents.training.metrics import roc_auc
from accident_reco.models.accidents.training.soft_labels import accident_folds

# What is searched; everything else of the parameters is left as it is.
SPACE: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "forest": {"leaf": (5, 7, 10, 14, 20), "features": (0.15, 0.2, 0.3, 0.45), "rows": (0.4, 0.6, 0.8)},
    "boosting": {
        "leaves": (31, 47, 63), "leaf": (20, 40, 80, 160), "features": (0.2, 0.3, 0.4, 0.5),
        "rows": (0.6, 0.8, 1.0), "l2": (1.0, 5.0, 20.0),
    },
}  # fmt: skip
FOLDS: Final = 4
KEEP: Final = 3
MOST: Final = 60
WARM_UP: Final = 200


@dataclass(frozen=True)
class Trial:
    """One draw with its ROC AUC on the folds it was judged on, in their order; the first trial is what is in use."""

    parameters: dict[str, Any]
    roc_auc: tuple[float, ...]


@dataclass(frozen=True)
class Found:
    """What a search ended with: the values chosen from `SPACE`, and every trial behind the choice."""

    chosen: dict[str, Any]
    trials: tuple[Trial, ...]
    seconds: float

    @property
    def gain(self) -> float:
        """ROC AUC over what is in use, mean over the folds of the winner; 0 when that was kept."""
        best = next(trial for trial in self.trials if trial.parameters == self.chosen)
        folds = len(best.roc_auc)
        return float(np.mean(best.roc_auc) - np.mean(self.trials[0].roc_auc[:folds]))

    def document(self) -> dict[str, Any]:
        """JSON of it."""
        return {**asdict(self), "gain": self.gain}


Judge = Callable[[Mapping[str, Any], int], float]
"""(values from `SPACE`, number of the fold) → ROC AUC on it."""


def search(
    judge: Judge, start: Mapping[str, Any], space: Mapping[str, Sequence[Any]], seconds: float, seed: int,
    clock: Callable[[], float] = time.monotonic,
) -> Found:  # fmt: skip
    """Successive halving within `seconds`; the first judgement tells how many draws the budget is worth.

    No judgement begins after the budget is spent, but what is in use is judged on every fold that counts.
    """
    began = clock()
    scores: list[list[float]] = [[judge(start, 0)]]
    cost = max(clock() - began, 1e-3)
    # A third of the draws goes on at each fold, so the folds after the first cost half as much as that one together.
    draws = int(min(max(seconds / cost / 1.5, 1), MOST))
    trials = [dict(start), *_draws(start, space, draws - 1, seed)]
    scores += [[] for _ in trials[1:]]
    alive = list(range(len(trials)))
    for fold in range(FOLDS):
        for number in alive:
            late = clock() - began >= seconds
            if len(scores[number]) <= fold and (number == 0 or not late):
                scores[number].append(judge(trials[number], fold))
        # Whoever was not reached in time drops out, and so does the rest of the field.
        judged = [number for number in alive if len(scores[number]) > fold]
        ranked = sorted(judged, key=lambda number: -float(np.mean(scores[number])))
        alive = sorted({0, *ranked[: max(len(ranked) // KEEP, 1)]})
        if alive == [0] or clock() - began >= seconds:
            break
    best = max(alive, key=lambda number: (float(np.mean(scores[number])), -number))
    judged_trials = [Trial(trials[n], tuple(scores[n])) for n in range(len(trials)) if scores[n]]
    return Found(trials[best], tuple(judged_trials), clock() - began)


def _draws(
    start: Mapping[str, Any], space: Mapping[str, Sequence[Any]], count: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Distinct points of the space other than `start`, in a seeded order."""
    points = [dict(zip(space, values, strict=True)) for values in product(*space.values())]
    order = np.random.default_rng(seed).permutation(len(points))
    others = (points[position] for position in order if points[position] != dict(start))
    return (point for _, point in zip(range(count), others, strict=False))


def tune(
    rows: TrainingRows, num_acc: NDArray[np.int64], judged: NDArray[np.bool_], start: Parameters, seconds: float,
    seed: int, jobs: int,
) -> Found:  # fmt: skip
    """Search around `start` on training rows with their recorded labels.

    Args:
        rows: real rows, whole and with gaps; `y` is the label: a teacher's word would have heard of the fold's labels.
        judged: the rows that may be scored (whole ones).
    """
    space = SPACE[algorithm_of(start)]
    fold = accident_folds(num_acc, FOLDS, seed)
    quick = quicker(start)

    def judge(values: Mapping[str, Any], number: int) -> float:
        inside, outside = fold != number, (fold == number) & judged
        trees = fit(rows.where(inside), replace(quick, **values), seed, jobs)
        return roc_auc(rows.y[outside], margins(trees, rows.x[outside]))

    # The libraries load at their first call: no cost of a judgement.
    few = rows.where(np.arange(len(rows.y)) < WARM_UP)
    margins(fit(few, quick, seed, 1), few.x)
    return search(judge, {name: getattr(start, name) for name in space}, space, seconds, seed)


def quicker(parameters: Parameters) -> Parameters:
    """The same in kind, at a fraction of the cost: fewer trees, and as much learnt in half the rounds."""
    if isinstance(parameters, ForestParameters):
        return replace(parameters, trees=max(parameters.trees // 6, 10))
    return replace(parameters, members=1, rounds=max(parameters.rounds // 2, 20), rate=parameters.rate * 2)


def outside_of_space(algorithm: str, chosen: Mapping[str, Any]) -> list[str]:
    """Which values are not of the declared space (or of the defaults), in words."""
    default = ForestParameters() if algorithm == "forest" else BoostingParameters()
    space = SPACE[algorithm]
    wrong = sorted(set(chosen) ^ set(space))
    wrong += [
        name for name, values in space.items()
        if name in chosen and chosen[name] not in (*values, getattr(default, name))
    ]  # fmt: skip
    return [f"{algorithm}.{name}" for name in wrong]
