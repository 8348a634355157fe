"""Severity rates: smoothed, the same for training and serving, and never from a training row's own accident."""

import numpy as np
import pytest

from accident_reco.models.accidents.features.builder import FeatureSpec, build_features
from accident_reco.models.accidents.features.severity_rates import (
    CODE_SMOOTHING,
    PLACE_SMOOTHING,
    RATE_FEATURES,
    assign_folds,
)


@pytest.fixture(scope="module")
def columns() -> dict[str, np.ndarray]:
    """Two thousand road users of a thousand accidents; lorries (14) are severe twice as often as cars (7)."""
    rng = np.random.default_rng(0)
    return {
        "Num_Acc": np.repeat(np.arange(1000), 2),
        "an": np.full(2000, 2024),
        "catv": rng.choice([7, 14, -1], 2000),
        "com": np.repeat(rng.choice(np.array(["01001", "01002", None]), 1000), 2),
        "dep": np.full(2000, "01"),
        "lat": np.full(2000, 46.0),
        "long": np.full(2000, 5.0),
    }


@pytest.fixture(scope="module")
def label(columns) -> np.ndarray:
    chance = np.where(columns["catv"] == 14, 0.4, 0.2)
    return (np.random.default_rng(1).random(2000) < chance).astype(np.int8)


def test_rates_are_smoothed_shares(columns, label):
    """Share of severe training rows, drawn to the mean by a stated number of rows; unknown codes have none."""
    spec = FeatureSpec.learn(columns, label=label)
    asked = {"catv": np.array([14, 7, -1, 33]), "com": np.array(["01001", None, "75056", "01002"])}
    found = build_features(asked, spec)
    lorry, place = columns["catv"] == 14, columns["com"] == "01001"
    mean = label.mean()
    expected = (label[lorry].sum() + CODE_SMOOTHING * mean) / (lorry.sum() + CODE_SMOOTHING)
    by_vehicle = found[:, spec.position["catv_rate"]]
    assert by_vehicle[0] == pytest.approx(expected, abs=1e-5)
    assert by_vehicle[0] > by_vehicle[1] + 0.05
    assert np.isnan(by_vehicle[2:]).all(), "no rate for an unknown code or one without training rows"
    by_place = found[:, spec.position["com_rate"]]
    expected = (label[place].sum() + PLACE_SMOOTHING * mean) / (place.sum() + PLACE_SMOOTHING)
    assert by_place[0] == pytest.approx(expected, abs=1e-5)
    assert np.isnan(by_place[1])
    assert by_place[2] == pytest.approx(mean, abs=1e-5), "a place without training rows has the mean"


def test_the_rate_of_a_place_does_not_depend_on_the_own_accident(columns, label):
    """A training row whose place rate contained its own label would teach the model to read the label from it."""
    fold, places = assign_folds(columns["Num_Acc"]), ["com_rate", "dep_rate"]
    changed = np.where(fold == 3, 1 - label, label)
    before, after = (FeatureSpec.learn(columns, label=labels) for labels in (label, changed))
    position = [before.position[name] for name in places]
    rows = [build_features(columns, spec, training_rows=True)[:, position] for spec in (before, after)]
    mine = (fold == 3) & np.array([code is not None for code in columns["com"]])
    # The mean that rates are drawn to is that of all rows, in which one of ten folds hardly counts.
    np.testing.assert_allclose(rows[0][mine], rows[1][mine], atol=0.02)
    others = ~mine & np.array([code is not None for code in columns["com"]])
    assert np.abs(rows[0][others] - rows[1][others]).min() > 0.02


def test_stored_rates_are_the_learnt_ones(columns, label):
    """The server reads them from `features.json`; a bundle without rates, as of older code, has missing ones."""
    learnt = FeatureSpec.learn(columns, label=label)
    stored = FeatureSpec.from_json(learnt.to_json())
    np.testing.assert_array_equal(build_features(columns, stored), build_features(columns, learnt))
    bare = FeatureSpec.from_json(FeatureSpec.learn(columns).to_json())
    assert np.isnan(build_features(columns, bare)[:, [bare.position[name] for name in RATE_FEATURES]]).all()
    with pytest.raises(ValueError, match="only in memory"):
        build_features(columns, stored, training_rows=True)
