"""Parameter search within a budget of seconds, by Optuna over folds of training rows.

The tree-structured Parzen estimator proposes values; asynchronous successive halving ends a trial that is not among
the best third after one fold, or after three, so that most time goes to promising ones. The current parameters are the
first trial, are evaluated on every fold, and are kept unless another trial has a higher mean over all of them. Folds
consist of whole training accidents, never of the holdout.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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

# Searched values; all other parameters keep theirs.
SPACE: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "forest": {"leaf": (5, 7, 10, 14, 20), "features": (0.15, 0.2, 0.3, 0.45), "rows": (0.4, 0.6, 0.8)},
    "boosting": {
        "leaves": (31, 45, 63),
        "leaf": (20, 40, 80, 160),
        "features": (0.2, 0.3, 0.4, 0.5),
        "rows": (0.6, 0.8, 1.0),
        "l2": (1.0, 5.0, 20.0),
    },
}
FOLDS: Final = 4
MAX_TRIALS: Final = 60
WARM_UP_ROWS: Final = 200


@dataclass(frozen=True)
class Trial:
    """One point of the space with its ROC AUC by fold, as far as it was evaluated; the first has the current values."""

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
        """Gain of mean ROC AUC over the current parameters, on all folds; 0 when they are kept."""
        best = next(trial for trial in self.trials if trial.parameters == self.chosen)
        return float(np.mean(best.roc_auc) - np.mean(self.trials[0].roc_auc))

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
    """Try at most `MAX_TRIALS` points of the space within `seconds`; the first trial is `start`.

    No evaluation begins after the budget is spent, except those of `start`, so that every choice is compared with it.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    began = clock()
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    )
    # The sampler sees positions in ascending order; the current value takes part even if the space has not got it.
    choices = {name: sorted({*values, start[name]}) for name, values in space.items()}
    study.enqueue_trial({name: choices[name].index(start[name]) for name in choices})
    trials: list[Trial] = []
    while len(study.trials) < MAX_TRIALS and not (trials and clock() - began >= seconds):
        draw = study.ask()
        values = {name: options[draw.suggest_int(name, 0, len(options) - 1)] for name, options in choices.items()}
        if any(values == trial.parameters for trial in trials):
            study.tell(draw, state=optuna.trial.TrialState.FAIL)
            continue
        scores: list[float] = []
        while len(scores) < FOLDS and not (trials and (clock() - began >= seconds or draw.should_prune())):
            scores.append(objective(values, len(scores)))
            draw.report(float(np.mean(scores)), len(scores))
        complete = len(scores) == FOLDS
        state = optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.PRUNED
        study.tell(draw, float(np.mean(scores)) if complete else None, state)
        trials.append(Trial(values, tuple(scores)))
    # Of equal means the first one wins, which is the one of `start`.
    best = max((trial for trial in trials if len(trial.roc_auc) == FOLDS), key=lambda t: float(np.mean(t.roc_auc)))
    return SearchResult(best.parameters, tuple(trials), clock() - began)


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


def assign_folds(num_acc: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of every row, 0 … folds - 1, shape (n,); the rows of an accident share one."""
    numbers, accident = np.unique(num_acc, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(numbers)) % folds)[accident]
