"""Bounds on the rows of single steps: what they keep, that small trainings reach none, and that cards state them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.synthesis import sequential
from accident_reco.models.accidents.synthesis.constraints import is_valid
from accident_reco.models.accidents.training import artefact_checks, bounds, candidate, fitting, soft_labels
from accident_reco.models.accidents.training.advice_table import learn_advice_table
from accident_reco.models.accidents.training.assembly import describe_bounds
from accident_reco.models.accidents.training.config import TrainingConfig
from accident_reco.models.accidents.training.fitting import BoostingParameters, ForestParameters, TrainingRows
from accident_reco.models.accidents.training.learning_curve import compute_learning_curve
from accident_reco.models.accidents.training.training_rows import extract_columns
from accident_reco_tests.support.population import build_population

BOOSTING = BoostingParameters(rounds=20, leaves=15)


@pytest.fixture(scope="module")
def real() -> pd.DataFrame:
    victims = build_population(600, 3)
    return victims[~in_holdout(victims["Num_Acc"].to_numpy())].reset_index(drop=True)


@pytest.fixture(scope="module")
def table(real) -> pd.DataFrame:
    synthetic = sequential.Synthesizer(seed=1, jobs=1).synthesize(real, 60)
    training = candidate.build_training_frame(real, synthetic, 0.05, 1)
    return candidate.build_feature_frame(training, TrainingConfig(jobs=1, soft_label_weight=0))


def build_rows(people: int, config: TrainingConfig) -> TrainingRows:
    """The rows of a training on so many real road users, without features."""
    weights = np.repeat([1.0, config.masked_weight, config.synthetic_weight], people)
    kept = np.minimum(weights / config.min_row_weight, 1.0)
    rows = round(float(kept.sum()))
    weight = np.full(rows, weights.sum() / rows, dtype=np.float32)
    return TrainingRows(np.empty((rows, 0), dtype=np.float32), np.zeros(rows), weight)


@pytest.mark.parametrize("parameters", [ForestParameters(), BoostingParameters()])
def test_only_large_trainings_bound_the_rows_of_a_tree(parameters):
    """Versions of up to 200,000 road users stay what they were, with the default settings."""
    small, large = (build_rows(people, TrainingConfig()) for people in (201_000, 2_000_000))
    assert fitting.describe_rows_per_tree(small, parameters) == {}
    stated = fitting.describe_rows_per_tree(large, parameters)["rows_per_tree"]
    assert f" of {len(large.y):,}, drawn anew for each tree" in stated
    assert describe_bounds({"rows_per_tree": stated}, 2_000_000)["rows per tree"] == stated


def test_small_trainings_reach_no_other_bound():
    """Half of the road users train an auxiliary model, a quarter are a fold, and all are a group of the advice."""
    people = 201_000
    assert people / 2 < bounds.MAX_SOFT_LABEL_ROWS
    assert people < min(bounds.MAX_OUT_OF_TIME_ROWS, bounds.MAX_ADVICE_ROWS)
    assert people / 4 < bounds.MAX_CURVE_ROWS
    assert people < min(sequential.MAX_RANKED_ROWS, sequential.MAX_SEVERITY_ROWS)
    assert TrainingConfig().count_calibration_folds(people) == 2
    assert TrainingConfig().count_calibration_folds(400_000) == 1
    assert describe_bounds({}, people) == {}
    assert "400,000 road users each" in describe_bounds({}, 2_000_000)["soft labels"]


def test_thinning_keeps_whole_accidents_and_returns_small_data_itself():
    """A mask of whole accidents stays one; what is small enough is not copied."""
    numbers = np.repeat(np.arange(5_000), 3)
    mask = numbers % 2 == 0
    thinned = bounds.thin_accidents(numbers, mask, 2_000)
    assert thinned.sum() == pytest.approx(2_000, rel=0.1)
    assert not (thinned & ~mask).any()
    assert set(np.bincount(numbers[thinned])) == {0, 3}
    assert bounds.thin_accidents(numbers, mask, int(mask.sum())) is mask
    assert bounds.thin_rows(numbers, len(numbers)) is numbers
    assert bounds.thin_rows(numbers, 7_000).tolist() == numbers[::3].tolist()


def test_the_matrix_of_the_feature_table_is_not_copied(table):
    """At two million road users a copy is 1.5 GB; the table keeps its other columns."""
    rows, _ = candidate.extract_rows(table)
    assert np.shares_memory(rows.x, table["age"].to_numpy())
    assert "_target" in table
    assert artefact_checks.sample_features(table).shape == (artefact_checks.SAMPLE_ROWS, rows.x.shape[1])


@pytest.mark.parametrize("parameters", [ForestParameters(trees=5), BOOSTING])
def test_a_bounded_tree_sees_fewer_rows(table, parameters, monkeypatch):
    """The forest has smaller trees, boosting other ones; a bound that is not reached changes nothing."""
    rows, _ = candidate.extract_rows(table)
    chosen = np.arange(len(rows.y)) % 4 != 0
    whole = fitting.fit(rows, parameters, 1, 1, chosen)
    same = fitting.fit(rows.select(chosen), parameters, 1, 1)
    assert whole.to_npz() == same.to_npz()
    for name in ("MAX_FOREST_ROWS", "MAX_BOOSTING_ROWS"):
        monkeypatch.setattr(fitting, name, 300)
    bounded = fitting.fit(rows, parameters, 1, 1, chosen)
    # The rows of the other fold, which have no target, play no part, although they are not copied away.
    blank = replace(rows, x=np.where(chosen[:, None], rows.x, -1), y=np.where(chosen, rows.y, np.nan))
    assert fitting.fit(blank, parameters, 1, 1, chosen).to_npz() == bounded.to_npz()
    if isinstance(parameters, BoostingParameters):
        assert fitting.fit(rows.select(chosen), parameters, 1, 1).to_npz() == bounded.to_npz()
    assert bounded.to_npz() != whole.to_npz()
    if isinstance(parameters, ForestParameters):
        assert len(bounded.feature) < len(whole.feature) / 2
        assert bounded.leaf_cover.min() >= bounds.MIN_FOREST_LEAF / 300 * 0.99


def test_auxiliary_models_are_fitted_on_a_bounded_number(real, monkeypatch):
    """Every road user gets a soft label all the same."""
    seen = []

    def fit(rows, parameters, seed, jobs, chosen):
        seen.append(int(chosen.sum()))
        return fitting.fit_boosting(rows, replace(parameters, rounds=3), seed, jobs, chosen)

    monkeypatch.setattr(soft_labels, "fit_boosting", fit)
    monkeypatch.setattr(soft_labels, "MAX_SOFT_LABEL_ROWS", 300)
    found, _ = soft_labels.predict_out_of_fold(extract_columns(real), BOOSTING, 0, 1)
    assert np.isfinite(found).all()
    assert max(seen) == pytest.approx(300, rel=0.2)


def test_blocks_of_the_synthesizer_change_nothing(real, monkeypatch):
    """A block is a matter of memory; bounds on ranks and severity give other rows, which are as valid."""
    synthesizer = sequential.Synthesizer(seed=1, jobs=1)
    whole = synthesizer.synthesize(real, 300)
    monkeypatch.setattr(sequential, "BLOCK_ROWS", 70)
    pd.testing.assert_frame_equal(synthesizer.synthesize(real, 300), whole)
    for name in ("MAX_RANKED_ROWS", "MAX_SEVERITY_ROWS", "MAX_FIT_ROWS"):
        monkeypatch.setattr(sequential, name, len(real) // 2)
    bounded = synthesizer.synthesize(real, 300)
    assert not bounded.equals(whole)
    assert is_valid(extract_columns(bounded)).all()
    assert bounded["grav"].isin([1, 2, 3, 4]).all()


def test_advice_and_curves_of_thinned_rows(real, table, monkeypatch):
    """The same groups and fields, the same last step of the curve, from fewer rows."""
    columns = extract_columns(real)
    inputs = ("catu", "catv", "agg", "an_nais", "vma", "com", "dep", "lat", "long")
    whole = learn_advice_table(columns, inputs)
    monkeypatch.setattr("accident_reco.models.accidents.training.advice_table.MAX_ADVICE_ROWS", 400)
    thinned = learn_advice_table(columns, inputs)
    assert {group: set(fields) for group, fields in thinned.groups.items()} == {
        group: set(fields) for group, fields in whole.groups.items()
    }
    rows, _ = candidate.extract_rows(table)
    trees = fitting.fit(rows, BOOSTING, 1, 1)
    label = (rows.y > 0.5).astype(np.int8)
    monkeypatch.setattr("accident_reco.models.accidents.training.learning_curve.MAX_CURVE_ROWS", -(-len(label) // 2))
    curve = compute_learning_curve(trees, BOOSTING, rows.x, label)
    half = compute_learning_curve(trees, BOOSTING, rows.x[::2], label[::2])
    assert [point[:2] for point in curve["roc_auc"]] == [point[:2] for point in half["roc_auc"]]
