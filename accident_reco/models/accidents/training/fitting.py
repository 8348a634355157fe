"""Fitting of the candidates, a random forest and gradient boosting, to plain `Trees`. Seeded; evaluates nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.scoring.trees import Trees, from_forest, from_lightgbm, join
from accident_reco.models.accidents.training.bounds import MAX_BOOSTING_ROWS, MAX_FOREST_ROWS, MIN_FOREST_LEAF

Matrix = NDArray[np.float32]
Chosen = NDArray[np.bool_]

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


def fit_forest(
    rows: TrainingRows, parameters: ForestParameters, seed: int, jobs: int, chosen: Chosen | None = None
) -> Trees:
    """Trees of a random forest, whose margin is the mean share of severe injuries in the leaves.

    A regressor, since targets may be probabilities; on labels, squared error is equivalent to the Gini impurity.
    """
    from sklearn.ensemble import RandomForestRegressor

    bounded = exceeds_rows_per_tree(rows, parameters, chosen)
    if bounded and chosen is not None:
        # Rows are drawn by weight: those of no weight never are, and need not be left out by a copy of the others.
        rows = replace(rows, y=np.where(chosen, rows.y, 0), weight=np.where(chosen, rows.weight, 0))
    elif chosen is not None:
        rows = rows.select(chosen)
    forest = RandomForestRegressor(
        n_estimators=parameters.trees,
        min_samples_leaf=max(parameters.leaf, MIN_FOREST_LEAF) if bounded else parameters.leaf,
        max_features=parameters.features,
        max_samples=MAX_FOREST_ROWS if bounded else parameters.rows,
        random_state=seed,
        n_jobs=jobs,
    )
    return from_forest(forest.fit(rows.x, rows.y, sample_weight=rows.weight))


def fit_boosting(
    rows: TrainingRows, parameters: BoostingParameters, seed: int, jobs: int, chosen: Chosen | None = None
) -> Trees:
    """Trees of gradient boosting, whose margin is the mean log-odds of the members."""
    import lightgbm

    count = len(rows.y) if chosen is None else int(np.count_nonzero(chosen))
    common = {
        # On labels this is the binary log loss; it accepts probabilities too.
        "objective": "cross_entropy",
        "num_leaves": parameters.leaves,
        "min_child_samples": parameters.leaf,
        "bagging_fraction": min(parameters.rows, MAX_BOOSTING_ROWS / count),
        "bagging_freq": 1,
        "lambda_l2": parameters.l2,
        "max_bin": 255,
        "num_threads": jobs if count >= MIN_ROWS_FOR_THREADS else 1,
        "verbosity": -1,
        # The same bytes whatever the number of threads.
        "deterministic": True,
        "force_row_wise": True,
    }
    if chosen is not None and exceeds_rows_per_tree(rows, parameters, chosen):
        data = _bin_in_blocks(rows, np.flatnonzero(chosen), common)
    else:
        data = _bin(rows if chosen is None else rows.select(chosen), common)

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


def _bin(rows: TrainingRows, common: dict[str, Any]) -> Any:
    """LightGBM's own copy of the rows, a byte a value; a selection of rows is freed before the first round."""
    import lightgbm

    return lightgbm.Dataset(rows.x, rows.y, weight=rows.weight, params=common).construct()


def _bin_in_blocks(rows: TrainingRows, places: NDArray[np.intp], common: dict[str, Any]) -> Any:
    """The same of rows at `places`, which are never copied all at once."""
    import lightgbm

    class Selection(lightgbm.Sequence):
        batch_size = 65_536

        def __getitem__(self, at: Any) -> Any:
            return rows.x[places[at]].astype(np.float64)

        def __len__(self) -> int:
            return len(places)

    data = lightgbm.Dataset(Selection(), rows.y[places], weight=rows.weight[places], params=common)
    return data.construct()


def exceeds_rows_per_tree(rows: TrainingRows, parameters: Parameters, chosen: Chosen | None = None) -> bool:
    """Whether a tree would draw more rows than one may, so that it draws `MAX_FOREST_ROWS` or `MAX_BOOSTING_ROWS`."""
    weight = rows.weight if chosen is None else rows.weight[chosen]
    if isinstance(parameters, ForestParameters):
        # The library draws a share of the total weight.
        return parameters.rows * float(weight.sum(dtype=np.float64)) > MAX_FOREST_ROWS
    return parameters.rows * len(weight) > MAX_BOOSTING_ROWS


def describe_rows_per_tree(rows: TrainingRows, parameters: Parameters) -> dict[str, str]:
    """`rows_per_tree` in words, for card and lineage; empty where a tree draws the share that the parameters state."""
    if not exceeds_rows_per_tree(rows, parameters):
        return {}
    forest = isinstance(parameters, ForestParameters)
    limit = MAX_FOREST_ROWS if forest else MAX_BOOSTING_ROWS
    leaf = f", in leaves of at least {max(parameters.leaf, MIN_FOREST_LEAF)}" if forest else ""
    return {"rows_per_tree": f"{limit:,} of {len(rows.y):,}, drawn anew for each tree{leaf}"}


def reduce_for_calibration(parameters: Parameters) -> Parameters:
    """Parameters of the fit that only calibrates.

    Half a forest has the same margins with slightly more noise; the margins of boosting depend on every round.
    """
    if isinstance(parameters, ForestParameters):
        return replace(parameters, trees=max(parameters.trees // 2, 1))
    return parameters


FITTERS: Final[dict[str, Callable[..., Trees]]] = {"forest": fit_forest, "boosting": fit_boosting}


def fit(rows: TrainingRows, parameters: Parameters, seed: int, jobs: int, chosen: Chosen | None = None) -> Trees:
    """Fit the kind of candidate that the parameters belong to, on all rows or on those of a mask of shape (n,)."""
    return FITTERS[get_algorithm(parameters)](rows, parameters, seed, jobs, chosen)


def get_algorithm(parameters: Parameters) -> str:
    """`forest` or `boosting`."""
    return "forest" if isinstance(parameters, ForestParameters) else "boosting"


def describe_parameters(parameters: Parameters) -> dict[str, Any]:
    """Name → value of all parameters with the algorithm, for MLflow and the lineage."""
    return {"algorithm": get_algorithm(parameters), **asdict(parameters)}
