"""Trees as arrays: the libraries, ONNX and the sum of an explanation give the same margin."""

import lightgbm
import numpy as np
import pytest
import shap
from sklearn.ensemble import RandomForestRegressor

from accident_reco.models.accidents.features.builder import FeatureSpec
from accident_reco.models.accidents.scoring.explanations import Explainer
from accident_reco.models.accidents.scoring.scorer import open_session
from accident_reco.models.accidents.scoring.trees import Trees, from_forest, from_lightgbm, join, round_down_to_float32
from accident_reco.models.accidents.training.export import to_onnx

SPEC = FeatureSpec()
WIDTH = len(SPEC.names)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Features with missing values, coarse values (ties with thresholds) and a label that depends on four of them."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1500, WIDTH)).round(1).astype(np.float32)
    y = (x[:, 0] + x[:, 1] * x[:, 2] - (x[:, 3] > 0) + rng.normal(0, 0.5, 1500) > 0).astype(int)
    x[rng.random(x.shape) < 0.1] = np.nan
    return x, y


@pytest.fixture(scope="module")
def forest(data):
    return RandomForestRegressor(12, min_samples_leaf=4, random_state=0).fit(*data)


@pytest.fixture(scope="module")
def booster(data):
    settings = {"objective": "binary", "num_leaves": 15, "verbosity": -1, "seed": 0, "num_threads": 1}
    return lightgbm.train(settings, lightgbm.Dataset(*data, params={"verbosity": -1}), 40)


def _onnx(trees: Trees, x: np.ndarray) -> np.ndarray:
    return open_session(to_onnx(trees, WIDTH)).run(None, {"features": x})[0][:, 0]


def test_forest_trees_and_onnx_predict_as_scikit_learn(data, forest):
    """Including missing values, whose branch the converters of the library lose."""
    x, _ = data
    trees = Trees.from_npz(from_forest(forest).to_npz())
    expected = forest.predict(x)
    np.testing.assert_allclose(trees.margin(x), expected, atol=1e-6)
    np.testing.assert_allclose(_onnx(trees, x), expected, atol=1e-5)


def test_boosted_trees_and_onnx_predict_as_lightgbm(data, booster):
    """The margin is the log-odds, including the constant that LightGBM boosts from."""
    x, _ = data
    trees = from_lightgbm(booster.model_to_string())
    expected = booster.predict(x, raw_score=True)
    np.testing.assert_allclose(trees.margin(x), expected, atol=1e-5)
    np.testing.assert_allclose(_onnx(trees, x), expected, atol=1e-5)


def test_feature_without_missing_values_in_training(data):
    """LightGBM treats NaN as zero where training had none; requests may have some."""
    x, y = data
    full = np.nan_to_num(x, nan=0.5)
    settings = {"objective": "binary", "num_leaves": 15, "verbosity": -1, "num_threads": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(full, y, params={"verbosity": -1}), 20)
    trees = from_lightgbm(booster.model_to_string())
    np.testing.assert_allclose(_onnx(trees, x), booster.predict(x, raw_score=True), atol=1e-5)


def test_margins_do_not_depend_on_the_batch(data, booster, forest):
    """Batch scoring and service return the same bits, whatever the size of the batch."""
    x, _ = data
    for trees in (from_lightgbm(booster.model_to_string()), from_forest(forest)):
        session = open_session(to_onnx(trees, WIDTH))
        whole = session.run(None, {"features": x})[0]
        for size in (1, 2, 7, 64, 129):
            parts = [session.run(None, {"features": x[i : i + size]})[0] for i in range(0, 3 * size, size)]
            assert np.concatenate(parts).tobytes() == whole[: 3 * size].tobytes(), size


def test_trees_without_a_split(data):
    """A constant label gives trees without a split, which are exported too."""
    x, _ = data
    forest = RandomForestRegressor(3, random_state=0).fit(x, np.arange(len(x)) % 2)
    flat = RandomForestRegressor(3, max_depth=1, min_samples_leaf=len(x), random_state=0).fit(x, np.arange(len(x)) % 2)
    np.testing.assert_allclose(_onnx(from_forest(flat), x[:5]), flat.predict(x[:5]), atol=1e-6)
    both = join([from_forest(forest), from_forest(flat)], 0.5)
    expected = (forest.predict(x[:5]) + flat.predict(x[:5])) / 2
    np.testing.assert_allclose(_onnx(both, x[:5]), expected, atol=1e-6)


def test_thresholds_are_rounded_down():
    """0.1 as float32 is above 0.1 as float64: rounding to nearest would send x = 0.1f to the other branch."""
    thresholds = np.array([0.1, -0.1, 0.3, 1.0, 16777217.0])
    below = round_down_to_float32(thresholds)
    assert (below.astype(np.float64) <= thresholds).all()
    assert (np.nextafter(below, np.float32(np.inf)).astype(np.float64) > thresholds).all()


def test_the_same_trees_give_the_same_bytes(booster):
    """The version id of a bundle is a hash over these files."""
    trees = from_lightgbm(booster.model_to_string())
    assert to_onnx(trees, WIDTH) == to_onnx(trees, WIDTH)
    assert trees.to_npz() == trees.to_npz()


def test_shap_values_equal_the_reference(data, booster):
    """Against LightGBM's own path-dependent TreeSHAP, and against the shap package."""
    x, _ = data
    explainer = Explainer(from_lightgbm(booster.model_to_string()), SPEC)
    assert explainer.method == "tree_shap"
    ours = np.array([explainer.contributions(row) for row in x[:60]])
    theirs = booster.predict(x[:60], pred_contrib=True)
    np.testing.assert_allclose(ours, theirs[:, :-1], atol=2e-5)
    assert explainer.expected == pytest.approx(theirs[0, -1], abs=2e-5)
    package = shap.TreeExplainer(booster, feature_perturbation="tree_path_dependent")
    np.testing.assert_allclose(ours[:10], np.asarray(package(x[:10]).values).reshape(10, WIDTH), atol=2e-5)


def test_shap_values_of_a_forest_equal_the_reference(data, forest):
    """Probabilities instead of log-odds, deeper trees, repeated tests on one feature."""
    x, _ = data
    explainer = Explainer(from_forest(forest), SPEC)
    filled = np.nan_to_num(x[:8])
    values = np.asarray(shap.TreeExplainer(forest, feature_perturbation="tree_path_dependent").shap_values(filled))
    ours = np.array([explainer.contributions(row) for row in filled])
    np.testing.assert_allclose(ours, values, atol=2e-5)


def test_path_attribution_adds_up(data, forest, monkeypatch):
    """Large forests are explained along their paths: not Shapley values, but their sum is the margin as well."""
    x, _ = data
    monkeypatch.setattr("accident_reco.models.accidents.scoring.explanations.MAX_SHAP_LEAVES", 10)
    trees = from_forest(forest)
    explainer = Explainer(trees, SPEC)
    assert explainer.method == "path"
    sums = [explainer.contributions(row).sum() + explainer.expected for row in x[:20]]
    np.testing.assert_allclose(sums, trees.margin(x[:20]), atol=1e-6)


def test_explanations_name_request_columns(data, booster):
    """Age is explained as the birth year; the sum over columns is the margin."""
    x, _ = data
    trees = from_lightgbm(booster.model_to_string())
    explainer = Explainer(trees, SPEC)
    named = explainer.contributions_by_column(x[0])
    assert set(named) <= set(SPEC.columns)
    assert sum(named.values()) + explainer.expected == pytest.approx(float(trees.margin(x[:1])[0]), abs=1e-4)
    effects = [abs(effect) for effect in named.values()]
    assert effects == sorted(effects, reverse=True)
