"""Fits the candidates: a random forest and gradient boosting, both to plain `Trees`. Seeded; no evaluation here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.accidents.trees import Trees, from_forest, from_lightgbm, join

Matrix = NDArray[np.float32]

# Below this many rows threads cost more than they give.
THREADS_FROM: Final = 20_000


@dataclass(frozen=True)
class TrainingRows:
    """Feature rows with their label and weight, shapes (n, k), (n,), (n,)."""

    x: Matrix
    y: NDArray[np.int8]
    weight: NDArray[np.float32]

    def where(self, mask: NDArray[np.bool_]) -> TrainingRows:
        """Some of the rows."""
        return TrainingRows(self.x[mask], self.y[mask], self.weight[mask])


@dataclass(frozen=True)
class ForestParameters:
    """RandomForest: `leaf` rows at least per leaf; `features` and `rows` are shares, per split and per tree."""

    trees: int = 200
    leaf: int = 5
    features: float = 0.2
    rows: float = 0.6


@dataclass(frozen=True)
class BoostingParameters:
    """LightGBM: `members` boosters of different seeds are averaged."""

    rounds: int = 500
    leaves: int = 63
    rate: float = 0.05
    leaf: int = 40
    features: float = 0.4
    rows: float = 0.8
    l2: float = 5.0
    members: int = 1


Parameters = ForestParameters | BoostingParameters


def fit_forest(rows: TrainingRows, parameters: ForestParameters, seed: int, jobs: int) -> Trees:
    """A random forest; the margin is the mean share of grave injuries in the leaves."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        n_estimators=parameters.trees, min_samples_leaf=parameters.leaf, max_features=parameters.features,
        max_samples=parameters.rows, random_state=seed, n_jobs=jobs,
    )  # fmt: skip
    return from_forest(forest.fit(rows.x, rows.y, sample_weight=rows.weight))


def fit_boosting(rows: TrainingRows, parameters: BoostingParameters, seed: int, jobs: int) -> Trees:
    """Gradient boosting; the margin is the mean log-odds of the members."""
    import lightgbm

    threads = jobs if len(rows.y) >= THREADS_FROM else 1

    def member(number: int) -> Trees:
        settings = {
            "objective": "binary", "learning_rate": parameters.rate, "num_leaves": parameters.leaves,
            "min_child_samples": parameters.leaf, "feature_fraction": parameters.features,
            "bagging_fraction": parameters.rows, "bagging_freq": 1, "lambda_l2": parameters.l2, "max_bin": 255,
            "seed": seed + number, "num_threads": threads, "verbosity": -1,
            # The same bytes whatever the number of threads.
            "deterministic": True, "force_row_wise": True,
        }  # fmt: skip
        data = lightgbm.Dataset(rows.x, rows.y, weight=rows.weight, params={"verbosity": -1})
        booster = lightgbm.train(settings, data, num_boost_round=parameters.rounds)
        return from_lightgbm(booster.model_to_string())

    return join([member(number) for number in range(parameters.members)], 1.0 / parameters.members)


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
