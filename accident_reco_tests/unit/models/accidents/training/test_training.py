"""Training of the accident model: from victims to a bundle that a server can load."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from accident_reco.defs.resources import Platform
from accident_reco.defs.training_loop import candidate_complete
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.lifecycle.reference import read_reference
from accident_reco.models.accidents.model import MODEL
from accident_reco.models.accidents.scoring.scorer import DECISION_FILE, FEATURES_FILE, AccidentScorer
from accident_reco.models.accidents.settings import AccidentTraining
from accident_reco.models.accidents.synthesis.sequential import Synthesizer
from accident_reco.models.accidents.training import artefact_checks, assembly, candidate
from accident_reco.models.accidents.training.config import TrainingConfig
from accident_reco.models.accidents.training.evaluation import Holdout, compare
from accident_reco.models.accidents.training.export import compute_staged_margins
from accident_reco.models.accidents.training.fitting import BoostingParameters, ForestParameters, fit
from accident_reco.models.accidents.training.learning_curve import compute_learning_curve
from accident_reco.models.accidents.training.metrics import roc_auc
from accident_reco.models.accidents.training.out_of_time import evaluate_out_of_time
from accident_reco.models.accidents.training.slices import compute_months
from accident_reco.models.accidents.training.tables import tabulate_evaluation
from accident_reco.models.accidents.training.training_population import choose_rows
from accident_reco.models.accidents.training.training_rows import (
    FOLDS,
    extract_columns,
    get_fold,
    mask_fields,
    mask_rows,
    severe_label,
)
from accident_reco.settings import Settings
from accident_reco_tests.support.population import build_population

NO_NUMBERS = np.empty(0, dtype=np.int64)
CONFIG = TrainingConfig(jobs=1, refit=False)
FOREST = ForestParameters(trees=12, leaf=8)
BOOSTING = BoostingParameters(rounds=40, leaves=15, members=2)


@pytest.fixture(scope="module")
def victims() -> pd.DataFrame:
    return build_population()


@pytest.fixture(scope="module")
def training(victims) -> pd.DataFrame:
    real = victims[~in_holdout(victims["Num_Acc"].to_numpy())]
    return candidate.build_training_frame(victims, Synthesizer(seed=1, jobs=1).synthesize(real, len(real)), 0.5, 1)


@pytest.fixture(scope="module")
def table(training) -> pd.DataFrame:
    return candidate.build_feature_frame(training, CONFIG)


@pytest.fixture(scope="module")
def forest(table, training) -> candidate.Trained:
    return candidate.train(table, candidate.prepare(training, CONFIG), FOREST, CONFIG)


@pytest.fixture(scope="module")
def boosting(table, training) -> candidate.Trained:
    return candidate.train(table, candidate.prepare(training, CONFIG), BOOSTING, CONFIG)


@pytest.fixture(scope="module")
def assembled(forest, boosting, training, victims, tmp_path_factory) -> assembly.Assembled:
    settings = Settings.load(home=tmp_path_factory.mktemp("home"))
    candidates = {name: _bundle(name, trained) for name, trained in (("forest", forest), ("boosting", boosting))}
    chosen, reason = assembly.choose_candidate(candidates)
    assert reason.startswith(f"{chosen} has the highest ROC AUC")
    return assembly.assemble(chosen, candidates, training, victims, "sample", settings)


def test_learning_curves_end_at_the_validation_metrics(forest, boosting, table, training):
    """By round and by tree of the last fold's fit, in one pass; a point in between is that of the trees so far."""
    fold = get_fold(candidate.extract_real_columns(training)[candidate.NUM_ACC])
    last = fold[fold < CONFIG.calibration_folds] == CONFIG.calibration_folds - 1
    for trained, steps in ((forest, 12), (boosting, 40)):
        curve = {name: [point[:2] for point in points] for name, points in trained.history.items()}
        assert [step for step, _ in curve["roc_auc"]] == list(range(1, steps + 1))
        final = roc_auc(trained.validation_label[last], trained.validation_margin[last])
        assert curve["roc_auc"][-1][1] == pytest.approx(final, abs=1e-4)
        assert curve["log_loss"][-1][1] < curve["log_loss"][0][1]
    rows, numbers = candidate.extract_rows(table)
    trees = fit(rows.select(get_fold(numbers) != 0), BOOSTING, CONFIG.seed, 1)
    x = rows.x[:300]
    group = np.tile(np.arange(BOOSTING.rounds), 2)
    staged = compute_staged_margins(trees, x, group)
    early = replace(trees, roots=trees.roots[group < 7])
    np.testing.assert_allclose(staged[:, 6], early.margin(x), atol=1e-4)


def test_a_member_that_ended_early_has_no_curve(table):
    """Which trees belong to which member is then unknown; a validation of one class has no curve either."""
    rows, _ = candidate.extract_rows(table)
    label = (rows.y[:50] > 0.5).astype(np.int8)
    one = BoostingParameters(rounds=3, members=1)
    trees = fit(rows.select(np.arange(len(rows.y)) < 500), one, 1, 1)
    assert len(compute_learning_curve(trees, one, rows.x[:50], label)["roc_auc"]) == 3
    assert compute_learning_curve(trees, replace(one, members=2), rows.x[:50], label) == {}
    assert compute_learning_curve(trees, one, rows.x[:50], label * 0) == {}


def test_tables_state_what_the_pictures_show(assembled):
    """Plain values whose sums are those of the holdout."""
    tables = tabulate_evaluation(assembled.holdout.label, assembled.report)
    rows = len(assembled.holdout.label)
    assert sum(tables["confusion"]["rows"]) == sum(tables["calibration"]["rows"]) == rows
    accuracy = (tables["confusion"]["rows"][0] + tables["confusion"]["rows"][3]) / rows
    assert accuracy == pytest.approx(assembled.bundle.metrics["accuracy"])
    assert len(tables["slices"]["part"]) == len(assembled.report.slices)
    assert {len(values) for values in tables["slices"].values()} == {len(assembled.report.slices)}
    assert tables["importances"]["column"][0] == next(iter(assembled.report.importances))
    assert json.loads(json.dumps(tables)) == tables


def _bundle(name: str, trained: candidate.Trained) -> Bundle:
    signature = {**candidate.build_signature(trained.files), "algorithm": name}
    return Bundle(
        "accidents", trained.files, signature, assembly.compute_validation_metrics(trained), {"parameters": {}}
    )


def test_half_of_the_training_set_is_synthetic_and_none_is_held_out(training):
    """One synthetic row per real one; no holdout accident, neither directly nor through the synthesizer."""
    assert artefact_checks.check_training_rows(training, 0.5, NO_NUMBERS) is None
    assert training["synthetic"].mean() == pytest.approx(0.5, abs=0.001)
    assert artefact_checks.check_training_rows(training, 0.3, NO_NUMBERS) == "the synthetic share is 0.500, not 0.3"


def test_holdout_row_in_training_is_found(training, victims):
    """The check on which the validity of every later metric depends."""
    leak = victims[in_holdout(victims["Num_Acc"].to_numpy())].head(3)[training.columns.drop("synthetic")]
    spoilt = pd.concat([training, leak.assign(synthetic=False)])
    assert artefact_checks.check_training_rows(spoilt, 0.5, NO_NUMBERS) == "3 road users belong to held-out accidents"


def test_accident_held_out_under_another_number_is_found_in_training(training):
    """Excluded by its content, although the hash of its number is not in the holdout."""
    number = int(training["Num_Acc"].iloc[0])
    assert artefact_checks.check_training_rows(training, 0.5, np.array([1, number])) == (
        f"accidents with the content of another one under another number: 1, such as {number}"
    )


def test_folds_keep_accidents_whole_and_are_independent_of_the_holdout(victims):
    """Calibration rows are out-of-fold: the rows of an accident share a fold, which does not depend on the holdout."""
    numbers = victims["Num_Acc"].to_numpy()
    fold, held_out = get_fold(numbers), in_holdout(numbers)
    assert set(fold) == set(range(FOLDS))
    assert victims.assign(fold=fold).groupby("Num_Acc")["fold"].nunique().max() == 1
    for one in range(FOLDS):
        assert held_out[fold == one].mean() == pytest.approx(held_out.mean(), abs=0.08)


def test_feature_table_has_rows_with_and_without_missing_values(table, training):
    """Every real row, most again with simulated missing values, some synthetic ones, with the configured weights."""
    real = int((~training["synthetic"]).sum())
    counts = table["_origin"].value_counts()
    few, most = round(0.05 / 0.5 * real), round(0.4 / 0.5 * real)
    assert counts.to_dict() == {candidate.REAL: real, candidate.MASKED: most, candidate.SYNTHETIC: few}
    weights = table.groupby("_origin")["_weight"].sum()
    np.testing.assert_allclose(weights, [real, 0.4 * real, 0.05 * real], atol=1)
    complete, masked = (table[table["_origin"] == origin].filter(regex="^[^_]") for origin in (0, 1))
    assert masked.isna().to_numpy().mean() > complete.isna().to_numpy().mean() + 0.2
    assert artefact_checks.check_feature_table(table, "call") is None
    assert (
        artefact_checks.check_feature_table(table.drop(columns="age"), "call")
        == "the columns are not those of the feature spec"
    )


def test_masked_fields_have_the_marker_of_their_type(victims):
    """-1 for codes, NaN for reals, None for text; other columns are unchanged."""
    columns = extract_columns(victims)
    masked = mask_fields(columns, ["catv", "lat", "dep"], 1.0, np.random.default_rng(0))
    assert (masked["catv"] == -1).all()
    assert np.isnan(masked["lat"]).all()
    assert set(masked["dep"]) == {None}
    assert masked["com"] is columns["com"]
    spec = candidate.learn_spec(victims.assign(synthetic=False), "call")
    shares = np.mean([mask_rows(columns, spec, 0.8, 3)[name] == -1 for name in ("catu", "vma", "nb_users")], axis=1)
    assert shares == pytest.approx([0.4, 0.4, 0.4], abs=0.03)


@pytest.mark.parametrize("name", ["forest", "boosting"])
def test_bundle_predicts_as_the_trees(name, table, request):
    """The check between fitting and evaluation: ONNX = trees within 1e-5, the same for single rows as for a batch."""
    trained = request.getfixturevalue(name)
    sample = table.filter(regex="^[^_]").to_numpy(np.float32)
    assert artefact_checks.check_exported_model(trained.files, sample) is None
    without = {key: content for key, content in trained.files.items() if key != DECISION_FILE}
    assert artefact_checks.check_exported_model(without, sample) == "the bundle lacks decision.json"


def test_models_predict_the_holdout(assembled):
    """Far better than chance on held-out accidents, calibrated, and robust to missing values."""
    metrics = assembled.bundle.metrics
    assert metrics["roc_auc"] > 0.7  # about five standard errors above chance, with so few rows
    assert metrics["ece"] < 0.08
    assert metrics["roc_auc"] > metrics["roc_auc_unknown_10"] > metrics["roc_auc_unknown_50"] > 0.55
    assert list(metrics)[:6] == ["roc_auc", "average_precision", "brier", "ece", "accuracy", "majority_accuracy"]
    assert metrics["coverage_grave"] > 0.8


def test_the_same_inputs_and_seed_give_the_same_version(table, training, boosting):
    """The bytes depend neither on the clock nor on the run nor on the order of threads."""
    again = candidate.train(table, candidate.prepare(training, CONFIG), BOOSTING, replace(CONFIG, jobs=2))
    assert {n: hash(c) for n, c in again.files.items()} == {n: hash(c) for n, c in boosting.files.items()}


def test_scores_do_not_depend_on_the_batch(assembled, victims):
    """Batch scoring, a request of a thousand records and one of a single record return the same bits."""
    scorer = AccidentScorer.from_files(assembled.bundle.files, assembled.bundle)
    columns = extract_columns(victims.head(400))
    whole = scorer.probability(columns)
    single = [scorer.probability({k: v[i : i + 1] for k, v in columns.items()})[0] for i in range(400)]
    assert np.array(single).tobytes() == whole.tobytes()
    assert scorer.probability({k: v[::-1] for k, v in columns.items()})[::-1].tobytes() == whole.tobytes()
    answer = scorer.answer(columns)
    assert ((answer.probability >= scorer.threshold) == answer.severe).all()


def test_manifest_with_other_inputs_is_rejected(assembled):
    """A server must not score columns in another order than the model's."""
    signature = json.loads(json.dumps(assembled.bundle.signature))
    signature["inputs"].reverse()
    with pytest.raises(ValueError, match="other inputs"):
        AccidentScorer.from_files(assembled.bundle.files, SimpleNamespace(signature=signature))


def test_explanations_use_the_codebook(assembled, victims):
    """A motorcyclist's vehicle and a missing birth year are both described in words."""
    scorer = AccidentScorer.from_files(assembled.bundle.files)
    columns = {k: v[:1].copy() for k, v in extract_columns(victims[victims["catv"] == 33]).items()}
    columns["an_nais"][0] = -1
    factors = {factor.column: factor for factor in scorer.explain(columns, max_factors=60)[0]}
    assert factors["catv"].words.startswith("Motorcycle")
    assert factors["an_nais"].value is None
    assert factors["an_nais"].words == "unknown"
    assert len(scorer.explain(columns, max_factors=3)[0]) == 3


def test_a_sample_is_whole_accidents_beside_the_whole_holdout_and_on_the_card(victims, assembled, training, forest):
    """All train unless a setting says otherwise; the smaller sample is part of the larger one."""
    held = in_holdout(victims["Num_Acc"].to_numpy())
    accidents = victims["Num_Acc"].to_numpy()
    used, nothing = choose_rows(accidents, AccidentTraining.model_fields["accidents_max_people"].default)
    assert used.all()
    assert nothing is None
    available = int((~held).sum())
    assert choose_rows(accidents, available)[1] is None
    chosen: list[set[int]] = []
    for bound in (available // 4, available // 2):
        used, sample = choose_rows(accidents, bound)
        rows = victims[used]
        assert (choose_rows(accidents, bound, "training")[0] == used & ~held).all()
        assert (choose_rows(accidents, bound, "holdout")[0] == held).all()
        numbers = set(rows["Num_Acc"])
        assert len(rows) == int(victims["Num_Acc"].isin(numbers).sum())
        assert set(victims["Num_Acc"][held]) <= numbers
        count = len(rows) - int(held.sum())
        assert count == pytest.approx(bound, rel=0.15)
        assert sample == {"road_users": count, "of": available, "setting": "ACCIDENT_RECO_ACCIDENTS_MAX_PEOPLE"}
        chosen.append(numbers)
    assert chosen[0] < chosen[1]
    assert "| sample |" not in assembled.bundle.files["card.md"].decode()
    candidates = {"forest": _bundle("forest", forest)}
    limited = assembly.assemble("forest", candidates, training, victims, "sample", Settings.load(), sample)
    stated = (
        f"| sample | {count:,} of {available:,} road users outside of the holdout: whole accidents, chosen by hash, "
    )
    assert f"{stated}by the setting ACCIDENT_RECO_ACCIDENTS_MAX_PEOPLE |" in limited.bundle.files["card.md"].decode()


def test_bundle_carries_profile_and_card(assembled):
    """The inputs of drift checks and readers; neither contains a time."""
    profile = read_reference(assembled.bundle.files["reference.json"])
    assert profile.model == "accidents"
    assert profile.columns["catu"].kind == "categorical"
    assert profile.columns["hrmn"].kind == "numeric"
    assert "com" not in profile.columns
    text = assembled.bundle.files["card.md"].decode()
    assert "| roc_auc |" in text
    assert "catu: driver" in text
    for told in ("**the same holdout rows only**", "Not promised", "equalised odds", "**Not for**", "Unknown age"):
        assert told in text
    assert "| everybody |" in text, "coverage by group"
    assert json.loads(assembled.bundle.files[FEATURES_FILE])["feature_set"] == "call"


def test_candidate_below_the_floor_is_a_warning(assembled, tmp_path, monkeypatch):
    """An error would stop the run before the gate records the rejection."""
    for floor, passes in (("0.5", True), ("0.999", False)):
        monkeypatch.setenv("ACCIDENT_RECO_ACCIDENTS_FLOOR", floor)
        outcome = candidate_complete(MODEL, assembled.bundle, Platform(home=str(tmp_path)))
        assert (outcome.passed, outcome.warn) == (passes, True)
    assert outcome.reason.endswith("is below the floor 0.9990")


def test_version_compared_with_itself_has_no_gain(assembled):
    """The gate's comparison: same rows, whole accidents, no slice better or worse."""
    scorer = AccidentScorer.from_files(assembled.bundle.files)
    found = compare(scorer, scorer, assembled.holdout, seed=0)
    assert found.gain.value == found.gain.low == found.gain.high == 0
    assert found.groups < found.rows == len(assembled.holdout.label)
    assert all(part.gain.value == 0 for part in found.slices)


def test_holdout_of_one_class_is_rejected(victims):
    """A tiny source is an error, not a metric of NaN."""
    light = victims[~severe_label(victims["grav"].to_numpy()).astype(bool)]
    with pytest.raises(ValueError, match="both classes"):
        Holdout.from_victims(light)


def test_out_of_time_evaluation_measures_time(training, victims, monkeypatch):
    """With inverted labels in the newest months, the model of earlier months is worse than chance there."""
    monkeypatch.setattr("accident_reco.models.accidents.training.out_of_time.MIN_ROWS", 20)
    holdout = Holdout.from_victims(victims)
    metrics, months = evaluate_out_of_time(training, holdout, "call", 0, 1)
    assert abs(metrics["roc_auc_out_of_time"] - metrics["roc_auc_in_time"]) < 0.1
    first = int(months[0].part.replace("-", ""))
    late, newest = compute_months(extract_columns(training)) >= first, compute_months(holdout.columns) >= first
    inverted = training.assign(grav=np.where(late, training["grav"].map({1: 3, 4: 3, 2: 1, 3: 1}), training["grav"]))
    label = np.where(newest, 1 - holdout.label, holdout.label).astype(np.int8)
    spoilt, _ = evaluate_out_of_time(inverted, Holdout(holdout.columns, label), "call", 0, 1)
    assert spoilt["roc_auc_out_of_time"] < 0.4 < spoilt["roc_auc_in_time"]
    assert evaluate_out_of_time(training.assign(mois=np.int16(1)), holdout, "call", 0, 1) == ({}, [])
