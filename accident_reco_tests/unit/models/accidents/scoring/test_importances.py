"""Importances of the input columns, computed from a version's trees."""

from __future__ import annotations

import numpy as np
import pytest

from accident_reco.models.accidents.features.builder import FeatureSpec
from accident_reco.models.accidents.scoring.importances import compute_importances, read_importances
from accident_reco.models.accidents.scoring.scorer import TREES_FILE
from accident_reco.models.accidents.scoring.trees import Trees, join
from accident_reco_tests.support.real_accidents import real_bundle


def stump(feature: int, low: float, high: float, share: float) -> Trees:
    """One split: `share` of the rows reach `low`, the others `high`."""
    return Trees(
        roots=np.zeros(1, dtype=np.int32),
        feature=np.array([feature], dtype=np.int32),
        threshold=np.zeros(1, dtype=np.float32),
        low=np.array([-1], dtype=np.int32),
        high=np.array([-2], dtype=np.int32),
        missing_low=np.ones(1, dtype=bool),
        node_cover=np.ones(1),
        value=np.array([low, high], dtype=np.float32),
        leaf_cover=np.array([share, 1 - share]),
        base=np.zeros(1),
    )


def test_a_split_counts_by_the_variance_it_explains() -> None:
    """A quarter at 4 and the rest at 0: variance 3; features of several trees add up, the others have none."""
    assert compute_importances(stump(1, 4.0, 0.0, 0.25), 3) == pytest.approx([0.0, 3.0, 0.0])
    both = join([stump(1, 4.0, 0.0, 0.25), stump(0, 1.0, -1.0, 0.5), stump(1, 2.0, 0.0, 0.5)], 1.0)
    assert compute_importances(both, 3) == pytest.approx([1.0, 4.0, 0.0])


def test_a_tree_explains_the_variance_of_its_margin() -> None:
    """Three leaves below two splits: together the splits explain what the leaves vary."""
    tree = Trees(
        roots=np.zeros(1, dtype=np.int32),
        feature=np.array([0, 1], dtype=np.int32),
        threshold=np.zeros(2, dtype=np.float32),
        low=np.array([1, -2], dtype=np.int32),
        high=np.array([-1, -3], dtype=np.int32),
        missing_low=np.ones(2, dtype=bool),
        node_cover=np.array([1.0, 0.6]),
        value=np.array([3.0, 1.0, -2.0], dtype=np.float32),
        leaf_cover=np.array([0.4, 0.2, 0.4]),
        base=np.zeros(1),
    )
    mean = 0.4 * 3 + 0.2 * 1 - 0.4 * 2
    variance = 0.4 * (3 - mean) ** 2 + 0.2 * (1 - mean) ** 2 + 0.4 * (-2 - mean) ** 2
    assert sum(compute_importances(tree, 2)) == pytest.approx(variance)


def test_importances_are_those_of_raw_columns() -> None:
    """The random bundle learns who is a pedestrian: by category, own vehicle, or both vehicles' masses."""
    bundle = real_bundle(rounds=5)
    found = read_importances(bundle.files)
    assert found["catu"] + found["catv"] + found["other_kind"] > 0.5 * sum(found.values())
    assert set(found) <= set(FeatureSpec().columns)
    assert {"lat", "long", "an_nais", "secu1"} <= set(found)
    assert found["lat"] == found["long"]
    assert "com" not in found


def test_a_bundle_without_trees_states_no_importances() -> None:
    """Bundles of older code: drift verdicts then count every column the same."""
    files = {name: content for name, content in real_bundle(rounds=1).files.items() if name != TREES_FILE}
    assert read_importances(files) == {}
