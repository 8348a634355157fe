"""Fits the candidates: a random forest and gradient boosting, both to plain `Trees`. Seeded; no evaluation here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.scoring.trees import Trees, from_forest, from_lightgbm, join

Matrix = NDArray[np.float32]

# Below this many rows threads cost more than they give.
THREADS_FROM: Final = 20_000
# Extremely random trees fit less per round.
FASTER: Final = 1.4


@dataclass(frozen=True)
class TrainingRows:
    """Feature rows, what to learn of each (a label, or a probability in its place) and weight: (n, k), (n,), (n,)."""

    x: Matrix
    y: NDArray[np.integer] | NDArray[np.floating]
    weight: NDArray[np.float32]

    def where(self, mask: NDArray[np.bool_]) -> TrainingRows:
        """Some of the rows."""
        return TrainingRows(self.x[mask], self.y[mask], self.weight[mask])


@dataclass(frozen=True)
class ForestParameters:
    """RandomForest: `leaf` rows at least per leaf; `features` and `rows` are shares, per split and per tree."""

    trees: int = 80
    leaf: int = 10
    features: float = 0.3
    rows: float = 0.8


@dataclass(frozen=True)
class BoostingParameters:
    """LightGBM: `members` boosters are averaged; every second one is of extremely random trees, to err differently.

    Those draw their thresholds by chance, and so look at more features per tree and learn faster.
    """

    rounds: int = 350
    leaves: int = 63
    rate: float = 0.07
    leaf: int = 40
    features: float = 0.4
    rows: float = 0.8
    l2: float = 5.0
    members: int = 2


Parameters = ForestParameters | BoostingParameters

# For measurements that compare two sets of people and need no best model.
QUICK: Final = BoostingParameters(rounds=120, leaves=31, rate=0.1, members=1)


def fit_forest(rows: TrainingRows, parameters: ForestParameters, seed: int, jobs: int) -> Trees:
    """A random forest; the margin is the mean share of grave injuries in the leaves.

    A regressor, since what is learnt may be a probability; on labels its squared error is the classifier's Gini.
    """
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(
        n_estimators=parameters.trees, min_samples_leaf=parameters.leaf, max_features=parameters.features,
        max_samples=parameters.rows, random_state=seed, n_jobs=jobs,
    )  # fmt: skip
    return from_forest(forest.fit(rows.x, rows.y, sample_weight=rows.weight))


def fit_boosting(rows: TrainingRows, parameters: BoostingParameters, seed: int, jobs: int) -> Trees:
    """Gradient boosting; the margin is the mean log-odds of the members."""
    import lightgbm

    common = {
        # Of labels this is the binary log loss; it takes probabilities too.
        "objective": "cross_entropy", "num_leaves": parameters.leaves, "min_child_samples": parameters.leaf,
        "bagging_fraction": parameters.rows, "bagging_freq": 1, "lambda_l2": parameters.l2, "max_bin": 255,
        "num_threads": jobs if len(rows.y) >= THREADS_FROM else 1, "verbosity": -1,
        # The same bytes whatever the number of threads.
        "deterministic": True, "force_row_wise": True,
    }  # fmt: skip
    data = lightgbm.Dataset(rows.x, rows.y, weight=rows.weight, params=common).construct()

    def member(number: int) -> Trees:
        random = number % 2 == 1
        own = {
            "extra_trees": random, "seed": seed + number,
            "learning_rate": parameters.rate * (FASTER if random else 1.0),
            "feature_fraction": min(parameters.features * (2.0 if random else 1.0), 1.0),
        }  # fmt: skip
        booster = lightgbm.train({**common, **own}, data, num_boost_round=parameters.rounds)
        return from_lightgbm(booster.model_to_string())

    return join([member(number) for number in range(parameters.members)], 1.0 / parameters.members)


def to_calibrate(parameters: Parameters) -> Parameters:
    """What a fit needs that only calibrates: half a forest says the same with little more noise, but boosting's
    margins grow with every round.
    """
    if isinstance(parameters, ForestParameters):
        return replace(parameters, trees=max(parameters.trees // 2, 1))
    return parameters


FITTERS: Final[dict[str, Callable[..., Trees]]] = {"forest": fit_forest, "boosting": fit_boosting}


def fit(rows: TrainingRows, parameters: Parameters, seed: int, jobs: int) -> Trees:
    """Fit whichever candidate the parameters are of."""
    return FITTERS[algorithm_of(parameters)](rows, parameters, seed, jobs)


def algorithm_of(parameters: Parameters) -> str:
    """`forest` or `boosting`."""
    return "forest" if isinstance(parameters, ForestParameters) else "boosting"


def described(parameters: Parameters) -> dict[str, Any]:
    """Parameters for MLflow and the card."""
    return {"algorithm": algorithm_of(parameters), **asdict(parameters)}
