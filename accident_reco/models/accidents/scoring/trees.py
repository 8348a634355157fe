"""A tree ensemble as plain arrays, to which forests and boosters are converted before export and explanation.

At a node, a value x goes to `low` when x <= threshold, otherwise to `high`; a missing one goes to `low` where
`missing_low` is set. Thresholds are float32 rounded down, so that comparisons of float32 features give the same result
as the library's with its float64 threshold. Children >= 0 are nodes, < 0 are leaves (~child).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LEFT_BIT: Final = 2
MISSING_BITS: Final = 12
MISSING_NAN: Final = 8


@dataclass(frozen=True)
class Trees:
    """All trees of an ensemble; the margin of a row is `base` plus the sum over trees of the value of its leaf.

    Args:
        roots: node index of each tree's root, shape (trees,).
        feature, threshold, low, high, missing_low: per node, shape (nodes,).
        node_cover: share of its tree's training weight that reaches each node, shape (nodes,).
        value, leaf_cover: per leaf, shape (leaves,).
        base: constant of the ensemble, shape (1,).
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    low: NDArray[np.int32]
    high: NDArray[np.int32]
    missing_low: NDArray[np.bool_]
    node_cover: NDArray[np.float64]
    value: NDArray[np.float32]
    leaf_cover: NDArray[np.float64]
    base: NDArray[np.float64]

    def margin(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sum over trees in float64, shape (n,): a slow reference implementation that exports are tested against."""
        total = np.full(len(x), self.base[0])
        rows = np.arange(len(x))
        for root in self.roots:
            at = np.full(len(x), root, dtype=np.int64)
            while (inner := at >= 0).any():
                node = np.where(inner, at, 0)
                values = x[rows, self.feature[node]]
                goes_low = np.where(np.isnan(values), self.missing_low[node], values <= self.threshold[node])
                at = np.where(inner, np.where(goes_low, self.low[node], self.high[node]), at)
            total += self.value[~at]
        return total

    def to_npz(self) -> bytes:
        """Compressed arrays without pickles; the same bytes for the same trees."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, allow_pickle=False, **{part.name: getattr(self, part.name) for part in fields(self)}
        )
        return buffer.getvalue()

    @classmethod
    def from_npz(cls, content: bytes) -> Trees:
        """The trees of a file that `to_npz` wrote.

        Raises:
            ValueError: it contains pickled objects.
        """
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(**{part.name: arrays[part.name] for part in fields(cls)})


def join(parts: Sequence[Trees], scale: float) -> Trees:
    """One ensemble whose margin is `scale` times the sum of the parts' margins."""
    nodes = np.cumsum([0, *(len(part.feature) for part in parts)])
    leaves = np.cumsum([0, *(len(part.value) for part in parts)])

    def shifted(children: NDArray[np.int32], part: int) -> NDArray[np.int32]:
        return np.where(children >= 0, children + nodes[part], children - leaves[part]).astype(np.int32)

    def stacked(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    return Trees(
        roots=np.concatenate([part.roots + nodes[i] for i, part in enumerate(parts)]).astype(np.int32),
        feature=stacked("feature"),
        threshold=stacked("threshold"),
        low=np.concatenate([shifted(part.low, i) for i, part in enumerate(parts)]),
        high=np.concatenate([shifted(part.high, i) for i, part in enumerate(parts)]),
        missing_low=stacked("missing_low"),
        node_cover=stacked("node_cover"),
        value=(stacked("value") * np.float64(scale)).astype(np.float32),
        leaf_cover=stacked("leaf_cover"),
        base=np.array([scale * sum(float(part.base[0]) for part in parts)]),
    )


def round_down_to_float32(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Largest float32 not above each threshold t, so that x <= t holds for the same float32 x."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def from_forest(forest: Any) -> Trees:
    """Trees of a fitted scikit-learn RandomForestRegressor of one output, whose margin is its prediction."""
    parts = [_from_sklearn_tree(estimator.tree_) for estimator in forest.estimators_]
    return join(parts, 1.0 / len(parts))


def _from_sklearn_tree(tree: Any) -> Trees:
    inner = tree.children_left >= 0
    # Nodes and leaves are numbered separately, each in the library's order.
    number = np.where(inner, np.cumsum(inner) - 1, ~(np.cumsum(~inner) - 1)).astype(np.int32)
    value = tree.value[:, 0, 0]
    cover = tree.weighted_n_node_samples / tree.weighted_n_node_samples[0]
    if not inner.any():
        return _build_single_leaf(float(value[0]))
    return Trees(
        roots=np.zeros(1, dtype=np.int32),
        feature=tree.feature[inner].astype(np.int32),
        threshold=round_down_to_float32(tree.threshold[inner]),
        low=number[tree.children_left[inner]],
        high=number[tree.children_right[inner]],
        missing_low=tree.missing_go_to_left[inner].astype(bool),
        node_cover=cover[inner],
        value=value[~inner].astype(np.float32),
        leaf_cover=cover[~inner],
        base=np.zeros(1),
    )


def _build_single_leaf(value: float) -> Trees:
    """A tree without a split, as a node with two leaves of the same value."""
    return Trees(
        roots=np.zeros(1, dtype=np.int32),
        feature=np.zeros(1, dtype=np.int32),
        threshold=np.zeros(1, dtype=np.float32),
        low=np.array([-1], dtype=np.int32),
        high=np.array([-2], dtype=np.int32),
        missing_low=np.ones(1, dtype=bool),
        node_cover=np.ones(1),
        value=np.full(2, value, dtype=np.float32),
        leaf_cover=np.full(2, 0.5),
        base=np.zeros(1),
    )


def from_lightgbm(model_text: str) -> Trees:
    """Trees of a LightGBM model, binary or cross-entropy, from `Booster.model_to_string()`; the margin is the log-odds.

    Raises:
        ValueError: the model has categorical splits or linear leaves, which are not supported.
    """
    parts = [_from_lightgbm_block(block) for block in model_text.split("\nTree=")[1:]]
    return join(parts, 1.0)


def _from_lightgbm_block(block: str) -> Trees:
    entries = dict(line.split("=", 1) for line in block.split("\n\n")[0].splitlines() if "=" in line)
    if int(entries["num_cat"]) or int(entries.get("is_linear", "0")):
        raise ValueError("categorical splits and linear leaves are not supported")

    def numbers(name: str, kind: Any) -> NDArray[Any]:
        return np.array(entries[name].split(), dtype=kind)

    values = numbers("leaf_value", np.float64)
    if int(entries["num_leaves"]) == 1:
        return _build_single_leaf(float(values[0]))
    threshold = numbers("threshold", np.float64)
    decision = numbers("decision_type", np.int64)
    # A feature without missing values in training treats NaN as zero (LightGBM, "Handle missing value").
    missing_low = np.where(decision & MISSING_BITS == MISSING_NAN, (decision & LEFT_BIT) > 0, threshold >= 0)
    total = float(numbers("leaf_count", np.float64).sum())
    return Trees(
        roots=np.zeros(1, dtype=np.int32),
        feature=numbers("split_feature", np.int32),
        threshold=round_down_to_float32(threshold),
        low=numbers("left_child", np.int32),
        high=numbers("right_child", np.int32),
        missing_low=missing_low,
        node_cover=numbers("internal_count", np.float64) / total,
        value=values.astype(np.float32),
        leaf_cover=numbers("leaf_count", np.float64) / total,
        base=np.zeros(1),
    )
