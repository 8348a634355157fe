"""Fitting of the candidates, a random forest and gradient boosting, to plain `Trees`. Seeded; evaluates nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.scoring.trees import Trees, from_forest, from_lightgbm, join

Matrix = NDArray[np.float32]

# With fewer rows, threads cost more time than they save.
MIN_ROWS_FOR_THREADS: Final = 20_000
# Learning rate of extremely random trees relative to the others: they fit less per round.
EXTRA_TREES_RATE_FACTOR: Final = 1.4


@dataclass(frozen=True)
class TrainingRows:
    """Feature rows (n, k), targets (n,), which are labels or probabilities, and weights (n,)."""

    x: Matrix
    y: NDArray[np.integer] | NDArray[np.floating]
    weight: NDArray[np.float32]

    def select(self, mask: NDArray[np.bool_]) -> TrainingRows:
        """The rows of a mask of shape (n,)."""
        return TrainingRows(self.x[mask], self.y[mask], self.weight[mask])


@dataclass(frozen=True)
class ForestParameters:
    """Random forest: minimum rows per `leaf`; `features` per split and `rows` per tree are shares."""

    trees: int = 80
    leaf: int = 10
    features: float = 0.3
    rows: float = 0.8


@dataclass(frozen=True)
class BoostingParameters:
    """LightGBM: the average of `members` boosters, every second one of extremely random trees for diversity.

    Those draw their thresholds at random, so they use more features per tree and a higher learning rate.
    """

    rounds: int = 500
    leaves: int = 45
    rate: float = 0.05
    leaf: int = 40
    features: float = 0.3
    rows: float = 0.8
    l2: float = 5.0
    members: int = 2


Parameters = ForestParameters | BoostingParameters

# For measurements that compare two sets of rows and do not need the best model.
FAST_BOOSTING: Final = BoostingParameters(rounds=120, leaves=31, rate=0.1, members=1)


def fit_forest(rows: TrainingRows, parameters: ForestParameters, seed: int, jobs: int) -> Trees:
    """Trees of a random forest, whose margin is the mean share of severe injuries in the leaves.

    A regressor, since targets may be probabilities; on labels, squared error is equivalent to the Gini impurity.
    """
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(
        n_estimators=parameters.trees,
        min_samples_leaf=parameters.leaf,
        max_features=parameters.features,
        max_samples=parameters.rows,
        random_state=seed,
        n_jobs=jobs,
    )
    return from_forest(forest.fit(rows.x, rows.y, sample_weight=rows.weight))


def fit_boosting(rows: TrainingRows, parameters: BoostingParameters, seed: int, jobs: int) -> Trees:
    """Trees of gradient boosting, whose margin is the mean log-odds of the members."""
    import lightgbm

    common = {
        # On labels this is the binary log loss; it accepts probabilities too.
        "objective": "cross_entropy",
        "num_leaves": parameters.leaves,
        "min_child_samples": parameters.leaf,
        "bagging_fraction": parameters.rows,
        "bagging_freq": 1,
        "lambda_l2": parameters.l2,
        "max_bin": 255,
        "num_threads": jobs if len(rows.y) >= MIN_ROWS_FOR_THREADS else 1,
        "verbosity": -1,
        # The same bytes whatever the number of threads.
        "deterministic": True,
        "force_row_wise": True,
    }
    data = lightgbm.Dataset(rows.x, rows.y, weight=rows.weight, params=common).construct()

    def member(number: int) -> Trees:
        random = number % 2 == 1
        own = {
            "extra_trees": random,
            "seed": seed + number,
            "learning_rate": parameters.rate * (EXTRA_TREES_RATE_FACTOR if random else 1.0),
            "feature_fraction": min(parameters.features * (2.0 if random else 1.0), 1.0),
        }
        booster = lightgbm.train({**common, **own}, data, num_boost_round=parameters.rounds)
        return from_lightgbm(booster.model_to_string())

    return join([member(number) for number in range(parameters.members)], 1.0 / parameters.members)


def reduce_for_calibration(parameters: Parameters) -> Parameters:
    """Parameters of the fit that only calibrates.

    Half a forest has the same margins with slightly more noise; the margins of boosting depend on every round.
    """
    if isinstance(parameters, ForestParameters):
        return replace(parameters, trees=max(parameters.trees // 2, 1))
    return parameters


FITTERS: Final[dict[str, Callable[..., Trees]]] = {"forest": fit_forest, "boosting": fit_boosting}


def fit(rows: TrainingRows, parameters: Parameters, seed: int, jobs: int) -> Trees:
    """Fit the kind of candidate that the parameters belong to."""
    return FITTERS[get_algorithm(parameters)](rows, parameters, seed, jobs)


def get_algorithm(parameters: Parameters) -> str:
    """`forest` or `boosting`."""
    return "forest" if isinstance(parameters, ForestParameters) else "boosting"


def describe_parameters(parameters: Parameters) -> dict[str, Any]:
    """Name → value of all parameters with the algorithm, for MLflow and the lineage."""
    return {"algorithm": get_algorithm(parameters), **asdict(parameters)}
