"""Importance of the input columns for a version's predictions, from its trees. For drift verdicts; numpy only.

The explanation of a single prediction is in `explanations`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from accident_reco.models.accidents.features.builder import FeatureSpec
from accident_reco.models.accidents.features.location_features import COORDINATES
from accident_reco.models.accidents.scoring.explanations import LOCATION, SOURCE_COLUMN, compute_node_values
from accident_reco.models.accidents.scoring.scorer import FEATURES_FILE, TREES_FILE
from accident_reco.models.accidents.scoring.trees import Trees


def read_importances(files: Mapping[str, bytes]) -> dict[str, float]:
    """Raw column → importance, by the files of a bundle; empty for a bundle of older code, without trees.

    Features of the location count for the coordinates: accidents are counted around them.
    """
    if TREES_FILE not in files:
        return {}
    spec = FeatureSpec.from_json(files[FEATURES_FILE])
    importances = compute_importances(Trees.from_npz(files[TREES_FILE]), len(spec.names))
    total: dict[str, float] = {}
    for name, importance in zip(spec.names, importances, strict=True):
        source = SOURCE_COLUMN.get(name, name)
        columns = COORDINATES if source == LOCATION else (source,)
        for column in columns:
            total[column] = total.get(column, 0.0) + importance / len(columns)
    return total


def compute_importances(trees: Trees, features: int) -> list[float]:
    """Importance of each feature: the variance of the margin over training rows that its splits explain.

    A split of a node of value v into parts of value vᵢ, which cᵢ of the tree's training weight reach, explains
    Σ cᵢ (vᵢ - v)²; the tree's splits together explain the variance of its margin.
    """
    value, total = compute_node_values(trees), np.zeros(features)
    for child in (trees.low, trees.high):
        inner, node, leaf = child >= 0, np.maximum(child, 0), np.where(child < 0, ~child, 0)
        reached = np.where(inner, trees.node_cover[node], trees.leaf_cover[leaf])
        difference = np.where(inner, value[node], trees.value[leaf]) - value
        np.add.at(total, trees.feature, reached * difference**2)
    return [float(importance) for importance in total]
