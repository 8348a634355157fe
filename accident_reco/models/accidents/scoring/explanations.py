"""Explanations of predictions: exact tree SHAP values in numpy, by BAAC column. No library, no sampling.

Path-dependent Shapley values (Lundberg et al. 2020, doi:10.1038/s42256-019-0138-9). For a leaf whose path tests d
distinct features, feature i gets value·(oᵢ - zᵢ)·∫₀¹ Πⱼ≠ᵢ (zⱼ(1-u) + oⱼu) du: oⱼ is 1 where the row passes all tests
on j, else 0, zⱼ is the share of training rows that do, and the integral is the Shapley weighting (∫uᵏ(1-u)ᵈ⁻¹⁻ᵏdu =
k!(d-1-k)!/d!). The integrand is a polynomial of degree d-1: Gauss-Legendre quadrature with ⌈d/2⌉ nodes is exact.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.builder import FeatureSpec
from accident_reco.models.accidents.features.location_features import LOCATION_FEATURES
from accident_reco.models.accidents.scoring.trees import Trees

# With more leaves Shapley values take too long for a request, and path attribution is used instead.
MAX_SHAP_LEAVES: Final = 60_000

# Derived feature → the BAAC or context column that it is attributed to; any other feature is a column itself.
SOURCE_COLUMN: Final[dict[str, str]] = {
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
    **dict.fromkeys(LOCATION_FEATURES, "com"),
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
        if self.method == "tree_shap":
            self._groups = _group_paths_by_length(trees)
        else:
            self._node_value = compute_node_values(trees)

    def contributions(self, row: NDArray[np.float32]) -> NDArray[np.float64]:
        """Contribution of every feature to the margin of one row of the feature matrix, shape (features,)."""
        if self.method == "path":
            return self._path_contributions(row)
        total = np.zeros(len(self.spec.names))
        for group in self._groups:
            total += group.contributions(row, len(total))
        return total

    def contributions_by_column(self, row: NDArray[np.float32]) -> dict[str, float]:
        """Column → sum of the contributions of its features, largest effect first."""
        sums = np.bincount(self._column_of_feature, weights=self.contributions(row), minlength=len(self._columns))
        return {self._columns[i]: float(sums[i]) for i in np.argsort(-np.abs(sums), kind="stable")}

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


class _PathGroup:
    """Leaves whose paths test the same number of distinct features; arrays of shape (d, leaves)."""

    def __init__(self, tests: list[NDArray[Any]], value: NDArray[Any]) -> None:
        feature, above, upto, missing, share = tests
        self._feature = np.ascontiguousarray(feature.T)
        self._above = np.ascontiguousarray(above.T)
        self._upto = np.ascontiguousarray(upto.T)
        self._missing = np.ascontiguousarray(missing.T)
        self._share = np.ascontiguousarray(share.T.astype(np.float32))
        self._value = value.astype(np.float32)
        nodes, weights = np.polynomial.legendre.leggauss((feature.shape[1] + 1) // 2)
        self._nodes = ((nodes + 1) / 2).astype(np.float32)
        self._weights = (weights / 2).astype(np.float32)

    def contributions(self, row: NDArray[np.float32], features: int) -> NDArray[np.float64]:
        values = row[self._feature]
        passes = (values > self._above) & (values <= self._upto)
        passes |= np.isnan(values) & self._missing
        step = passes.astype(np.float32) - self._share
        integral = np.zeros_like(self._share)
        # In place: new arrays for every node would cost more than the arithmetic.
        term, product = np.empty_like(step), np.empty(step.shape[1], dtype=np.float32)
        for node, weight in zip(self._nodes, self._weights, strict=True):
            np.multiply(step, node, out=term)
            term += self._share
            np.multiply.reduce(term, axis=0, out=product)
            product *= weight
            integral += np.divide(product, term, out=term)
        integral *= step
        integral *= self._value
        sums = np.bincount(self._feature.ravel(), weights=integral.ravel(), minlength=features)
        return sums.astype(np.float64)


def _group_paths_by_length(trees: Trees) -> list[_PathGroup]:
    """Paths of all leaves, tests on the same feature merged, grouped by the number of distinct features."""
    leaf, feature, above, upto, missing, share = _merge_tests(trees)
    length = np.bincount(leaf, minlength=len(trees.value))
    groups = []
    for d in np.unique(length[length > 0]):
        rows = length[leaf] == d
        shape = (-1, int(d))
        leaves = leaf[rows].reshape(shape)[:, 0]
        of_group = [part[rows].reshape(shape) for part in (feature, above, upto, missing, share)]
        groups.append(_PathGroup(of_group, trees.value[leaves]))
    return groups


def _merge_tests(trees: Trees) -> tuple[NDArray[Any], ...]:
    """Flat arrays by (leaf, feature): interval (above, upto], whether missing passes, share of rows that pass."""
    parent, came_low = _find_parents(trees)
    n_nodes = len(trees.feature)
    cover = np.concatenate([trees.node_cover, trees.leaf_cover])
    # Children are numbered nodes first, then leaves.
    here = n_nodes + np.arange(len(trees.value))
    leaf = np.arange(len(trees.value))
    steps: list[tuple[NDArray[Any], ...]] = []
    while len(here):
        node, low = parent[here], came_low[here]
        inside = node >= 0
        here, leaf, node, low = here[inside], leaf[inside], node[inside], low[inside]
        threshold = trees.threshold[node]
        steps.append(
            (
                leaf,
                trees.feature[node],
                np.where(low, -np.inf, threshold),
                np.where(low, threshold, np.inf),
                trees.missing_low[node] == low,
                cover[here] / cover[node],
            )
        )
        here = node
    leaf, feature, above, upto, missing, share = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    order = np.lexsort((feature, leaf))
    leaf, feature = leaf[order], feature[order]
    first = np.flatnonzero(np.append(True, (np.diff(leaf) != 0) | (np.diff(feature) != 0)))
    return (
        leaf[first],
        feature[first],
        np.maximum.reduceat(above[order], first).astype(np.float32),
        np.minimum.reduceat(upto[order], first).astype(np.float32),
        np.logical_and.reduceat(missing[order], first),
        np.multiply.reduceat(share[order], first),
    )


def _find_parents(trees: Trees) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Parent node of every node and leaf (-1 for a root), and whether it is the low child."""
    n_nodes = len(trees.feature)
    parent = np.full(n_nodes + len(trees.value), -1, dtype=np.int64)
    came_low = np.zeros(len(parent), dtype=bool)
    for children, low in ((trees.low, True), (trees.high, False)):
        place = np.where(children >= 0, children, n_nodes + ~children)
        parent[place] = np.arange(n_nodes)
        came_low[place] = low
    return parent, came_low


def compute_node_values(trees: Trees) -> NDArray[np.float64]:
    """Expected margin of the training rows that reach each node: mean of its leaves by cover."""
    parent, _ = _find_parents(trees)
    n_nodes = len(trees.feature)
    weighted = np.zeros(n_nodes)
    here, amount = n_nodes + np.arange(len(trees.value)), trees.value * trees.leaf_cover
    while len(here):
        node = parent[here]
        inside = node >= 0
        here, amount = node[inside], amount[inside]
        np.add.at(weighted, here, amount)
    return weighted / trees.node_cover
