"""Export of a tree ensemble to ONNX.

One writer for forests and boosters, directly from `Trees`: the converters of the libraries take minutes and twice the
bytes for the same nodes, and lose scikit-learn's treatment of missing values. The graph is a single `TreeEnsemble`
(ai.onnx.ml 5): features (n, k) float32 → margin (n, 1) float32.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.scoring.trees import Trees

INPUT: Final = "features"
OUTPUT: Final = "margin"
_AI_ONNX_ML: Final = 5
_AI_ONNX: Final = 21
_IR_VERSION: Final = 10
_BRANCH_LEQ: Final = 0
_SUM: Final = 1


def to_onnx(trees: Trees, n_features: int, group: NDArray[np.integer] | None = None) -> bytes:
    """The ONNX model file; the same bytes for the same trees.

    Args:
        group: group of each tree, shape (trees,), that of the first tree 0: the output is then the margin of each
            group alone, (n, groups).
    """
    import onnx
    from onnx import TensorProto, helper

    def tensor(name: str, values: NDArray[np.float32]) -> onnx.TensorProto:
        return helper.make_tensor(name, TensorProto.FLOAT, [len(values)], values.tobytes(), raw=True)

    def children(child: NDArray[np.int32]) -> tuple[list[int], list[int]]:
        return np.where(child >= 0, child, ~child).tolist(), (child < 0).astype(int).tolist()

    low, low_is_leaf = children(trees.low)
    high, high_is_leaf = children(trees.high)
    # The constant is added to the leaves of the first tree: one node, no separate rounding step.
    values = trees.value.astype(np.float64)
    if trees.base[0]:
        values[_find_leaves_of_first_tree(trees)] += trees.base[0]
    groups = np.zeros(len(trees.roots), dtype=np.int64) if group is None else group
    # A binary tree has one leaf more than nodes.
    leaves_of_tree = np.diff(np.append(trees.roots, len(trees.feature))) + 1
    targets = int(groups.max()) + 1
    node = helper.make_node(
        "TreeEnsemble",
        [INPUT],
        [OUTPUT],
        domain="ai.onnx.ml",
        n_targets=targets,
        aggregate_function=_SUM,
        post_transform=0,
        tree_roots=trees.roots.tolist(),
        nodes_featureids=trees.feature.tolist(),
        nodes_splits=tensor("splits", trees.threshold),
        nodes_modes=helper.make_tensor(
            "modes", TensorProto.UINT8, [len(trees.feature)], bytes([_BRANCH_LEQ]) * len(trees.feature), raw=True
        ),
        nodes_truenodeids=low,
        nodes_trueleafs=low_is_leaf,
        nodes_falsenodeids=high,
        nodes_falseleafs=high_is_leaf,
        nodes_missing_value_tracks_true=trees.missing_low.astype(int).tolist(),
        leaf_targetids=np.repeat(groups, leaves_of_tree).tolist(),
        leaf_weights=tensor("weights", values.astype(np.float32)),
    )
    graph = helper.make_graph(
        [node],
        "accident_severity",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", n_features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", targets])],
    )
    model = helper.make_model(
        graph,
        producer_name="accident_reco",
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("ai.onnx.ml", _AI_ONNX_ML), helper.make_opsetid("", _AI_ONNX)],
    )
    return model.SerializeToString(deterministic=True)


def compute_margins(trees: Trees, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Margin of every row, shape (n,), by onnxruntime: much faster than `Trees.margin`, equal up to rounding."""
    from accident_reco.models.accidents.scoring.scorer import open_session

    session = open_session(to_onnx(trees, x.shape[1]))
    return session.run(None, {INPUT: np.ascontiguousarray(x)})[0].reshape(-1).astype(np.float64)


def compute_staged_margins(trees: Trees, x: NDArray[np.float32], group: NDArray[np.integer]) -> NDArray[np.float64]:
    """Margin of every row after each group of trees, shape (n, groups), in one pass over the trees.

    Args:
        group: group of each tree, shape (trees,), that of the first tree 0.
    """
    from accident_reco.models.accidents.scoring.scorer import open_session

    session = open_session(to_onnx(trees, x.shape[1], group))
    margins: NDArray[np.float64] = session.run(None, {INPUT: np.ascontiguousarray(x)})[0].astype(np.float64)
    return margins.cumsum(axis=1)


def _find_leaves_of_first_tree(trees: Trees) -> NDArray[np.int64]:
    stop = int(trees.roots[1]) if len(trees.roots) > 1 else len(trees.feature)
    child = np.concatenate([trees.low[:stop], trees.high[:stop]])
    return ~child[child < 0].astype(np.int64)
