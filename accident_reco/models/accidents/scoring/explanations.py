"""Explanations of predictions by BAAC column: which columns move the margin of a row, by how much. Numpy only.

The players of the Shapley values are the columns: the features of a column are known together. The algorithm is in
`shapley`, the words of an explanation are in `factors`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.builder import FeatureSpec
from accident_reco.models.accidents.features.location_features import LOCATION_FEATURES
from accident_reco.models.accidents.features.severity_rates import SOURCE_OF_RATE
from accident_reco.models.accidents.scoring.shapley import TreeShapley, find_parents
from accident_reco.models.accidents.scoring.trees import Trees

# With more leaves Shapley values take too long for a request, and path attribution is used instead.
MAX_SHAP_LEAVES: Final = 60_000

LOCATION: Final = "com"
"""Column that all features of the location are attributed to."""
_SOURCE_OF_DERIVED: Final[dict[str, str]] = {
    "age": "an_nais",
    "driver_age": "driver_an_nais",
    "other_age": "other_an_nais",
    "hour": "hrmn",
    "weekday": "jour",
    "day_type": "jour",
    "speed_limit": "vma",
    "kind": "catv",
    "opponent": "other_kind",
    "log_mass_ratio": "other_kind",
    "speed_change": "vma",
    "unequipped": "secu1",
    "belt": "secu1",
    "helmet": "secu1",
    "child_seat": "secu1",
    "vest": "secu1",
    "airbag": "secu1",
    "gloves": "secu1",
    "equipment_undetermined": "secu1",
    **dict.fromkeys((*LOCATION_FEATURES, "dep"), LOCATION),
}
# Derived feature → the BAAC or context column that it is attributed to; any other feature is a column itself.
SOURCE_COLUMN: Final[dict[str, str]] = _SOURCE_OF_DERIVED | {
    rate: _SOURCE_OF_DERIVED.get(name, name) for rate, name in SOURCE_OF_RATE.items()
}


class Explainer:
    """Attributes the margin of single rows to features; `expected` plus all contributions is the margin."""

    def __init__(self, trees: Trees, spec: FeatureSpec) -> None:
        self.spec = spec
        self._trees = trees
        self.method = "tree_shap" if len(trees.value) <= MAX_SHAP_LEAVES else "path"
        self._columns = tuple(dict.fromkeys(SOURCE_COLUMN.get(name, name) for name in spec.names))
        position = {name: index for index, name in enumerate(self._columns)}
        self._column_of_feature = np.array([position[SOURCE_COLUMN.get(name, name)] for name in spec.names])
        self.expected = float(trees.base[0] + (trees.value * trees.leaf_cover).sum())

    def contributions(self, row: NDArray[np.float32]) -> NDArray[np.float64]:
        """Contribution of every feature to the margin of one row of the feature matrix, shape (features,)."""
        return self._path_contributions(row) if self.method == "path" else self._by_feature.values(row)

    def contributions_by_column(self, row: NDArray[np.float32]) -> dict[str, float]:
        """Column → contribution of its features together, largest effect first."""
        if self.method == "path":
            features = self._path_contributions(row)
            effects = np.bincount(self._column_of_feature, features, len(self._columns)).astype(np.float64)
        else:
            effects = self._by_column.values(row)
        return {self._columns[i]: float(effects[i]) for i in np.argsort(-np.abs(effects), kind="stable")}

    @cached_property
    def _by_feature(self) -> TreeShapley:
        return TreeShapley(self._trees, np.arange(len(self.spec.names)))

    @cached_property
    def _by_column(self) -> TreeShapley:
        return TreeShapley(self._trees, self._column_of_feature)

    @cached_property
    def _node_value(self) -> NDArray[np.float64]:
        return compute_node_values(self._trees)

    def _path_contributions(self, row: NDArray[np.float32]) -> NDArray[np.float64]:
        """Change of the expected margin at every test on the row's paths (Saabas 2014); sums are exact, not Shapley."""
        trees, total = self._trees, np.zeros(len(self.spec.names))
        at = trees.roots.astype(np.int64)
        while len(at):
            values = row[trees.feature[at]]
            low = np.where(np.isnan(values), trees.missing_low[at], values <= trees.threshold[at])
            child = np.where(low, trees.low[at], trees.high[at]).astype(np.int64)
            inner = child >= 0
            after = np.where(inner, self._node_value[np.maximum(child, 0)], trees.value[np.where(inner, 0, ~child)])
            np.add.at(total, trees.feature[at], after - self._node_value[at])
            at = child[inner]
        return total


def compute_node_values(trees: Trees) -> NDArray[np.float64]:
    """Expected margin of the training rows that reach each node: mean of its leaves by cover."""
    parent, _ = find_parents(trees)
    n_nodes = len(trees.feature)
    weighted = np.zeros(n_nodes)
    here, amount = n_nodes + np.arange(len(trees.value)), trees.value * trees.leaf_cover
    while len(here):
        node = parent[here]
        inside = node >= 0
        here, amount = node[inside], amount[inside]
        np.add.at(weighted, here, amount)
    return weighted / trees.node_cover
