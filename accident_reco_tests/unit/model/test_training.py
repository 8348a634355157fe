"""From people to a bundle that a server can answer with."""

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
from accident_reco.models.accidents.synthesis.sequential import Synthesizer
from accident_reco.models.accidents.training import artefact_checks, assembly, candidate
from accident_reco.models.accidents.training.candidate import Recipe
from accident_reco.models.accidents.training.evaluation import Holdout, compare
from accident_reco.models.accidents.training.fitting import BoostingParameters, ForestParameters
from accident_reco.models.accidents.training.out_of_time import out_of_time
from accident_reco.models.accidents.training.slices import months_of
from accident_reco.models.accidents.training.training_rows import (
    columns_of,
    in_validation,
    mask_fields,
    masked_copy,
    severe_label,
)
from accident_reco.settings import Settings
from accident_reco_tests.unit.model.people import population

NO_NUMBERS = np.empty(0, dtype=np.int64)
RECIPE = Recipe(jobs=1, refit=False)
FOREST = ForestParameters(trees=12, leaf=8)
BOOSTING = BoostingParameters(rounds=40, leaves=15, members=2)


@pytest.fixture(scope="module")
def victims() -> pd.DataFrame:
    return population()


@pytest.fixture(scope="module")
def training(victims) -> pd.DataFrame:
    real = victims[~in_holdout(victims["Num_Acc"].to_numpy())]
    return candidate.training_frame(victims, Synthesizer(seed=1, jobs=1).synthesize(real, len(real)), 0.5, 1)


@pytest.fixture(scope="module")
def table(training) -> pd.DataFrame:
    return candidate.feature_frame(training, RECIPE)


@pytest.fixture(scope="module")
def forest(table, training) -> candidate.Trained:
    return candidate.train(table, training, FOREST, RECIPE)


@pytest.fixture(scope="module")
def boosting(table, training) -> candidate.Trained:
    return candidate.train(table, training, BOOSTING, RECIPE)


@pytest.fixture(scope="module")
def assembled(forest, boosting, training, victims, tmp_path_factory) -> assembly.Assembled:
    settings = Settings.load(home=tmp_path_factory.mktemp("home"))
    candidates = {name: _bundle(name, trained) for name, trained in (("forest", forest), ("boosting", boosting))}
    chosen = assembly.best(candidates)
    return assembly.assemble(chosen, candidates, training, victims, "sample", settings)


def _bundle(name: str, trained: candidate.Trained) -> Bundle:
    signature = {**candidate.signature_of(trained.files), "algorithm": name}
    return Bundle("accidents", trained.files, signature, assembly.validation_metrics(trained), {"parameters": {}})


def test_half_of_the_training_set_is_synthetic_and_nobody_is_held_out(training):
    """One synthetic person for each real one; held-out accidents stay out, also by way of the synthesizer."""
    assert artefact_checks.training_people(training, 0.5, NO_NUMBERS) is None
    assert training["synthetic"].mean() == pytest.approx(0.5, abs=0.001)
    assert artefact_checks.training_people(training, 0.3, NO_NUMBERS) == "the synthetic share is 0.500, not 0.3"


def test_a_held_out_person_in_training_is_found(training, victims):
    """The check that guards every later number."""
    leak = victims[in_holdout(victims["Num_Acc"].to_numpy())].head(3)[training.columns.drop("synthetic")]
    spoilt = pd.concat([training, leak.assign(synthetic=False)])
    assert artefact_checks.training_people(spoilt, 0.5, NO_NUMBERS) == "3 people belong to held-out accidents"


def test_an_accident_held_out_under_another_number_is_found_in_training(training):
    """The hash of its number lets it train, its content does not."""
    number = int(training["Num_Acc"].iloc[0])
    assert artefact_checks.training_people(training, 0.5, np.array([1, number])) == (
        f"accidents with the content of another one under another number: 1, such as {number}"
    )


def test_validation_is_never_part_of_the_holdout(victims):
    """Calibration rows are training accidents; people of one accident are all in or all out."""
    numbers = victims["Num_Acc"].to_numpy()
    chosen = in_validation(numbers, 0.3)
    assert 0.1 < chosen.mean() < 0.4
    assert not (chosen & in_holdout(numbers)).any()
    assert set(numbers[chosen]).isdisjoint(numbers[~chosen])


def test_rows_are_learnt_plain_and_with_gaps(table, training):
    """Every real person; most of them again, with fields unknown; some synthetic ones; they weigh as stated."""
    real = int((~training["synthetic"]).sum())
    counts = table["_origin"].value_counts()
    few, most = round(0.05 / 0.5 * real), round(0.4 / 0.5 * real)
    assert counts.to_dict() == {candidate.REAL: real, candidate.MASKED: most, candidate.SYNTHETIC: few}
    weights = table.groupby("_origin")["_weight"].sum()
    np.testing.assert_allclose(weights, [real, 0.4 * real, 0.05 * real], atol=1)
    plain, gaps = (table[table["_origin"] == origin].filter(regex="^[^_]") for origin in (0, 1))
    assert gaps.isna().to_numpy().mean() > plain.isna().to_numpy().mean() + 0.2
    assert artefact_checks.feature_table(table, "call") is None
    assert (
        artefact_checks.feature_table(table.drop(columns="age"), "call")
        == "the columns are not those of the feature spec"
    )


def test_masking_makes_fields_unknown_by_their_own_rule(victims):
    """-1 for codes, NaN for reals, None for text, and what is not named stays."""
    columns = columns_of(victims)
    masked = mask_fields(columns, ["catv", "lat", "dep"], 1.0, np.random.default_rng(0))
    assert (masked["catv"] == -1).all()
    assert np.isnan(masked["lat"]).all()
    assert set(masked["dep"]) == {None}
    assert masked["com"] is columns["com"]
    spec = candidate.spec_of(victims.assign(synthetic=False), "call")
    shares = np.mean([masked_copy(columns, spec, 0.8, 3)[name] == -1 for name in ("catu", "vma", "nb_users")], axis=1)
    assert shares == pytest.approx([0.4, 0.4, 0.4], abs=0.03)


@pytest.mark.parametrize("name", ["forest", "boosting"])
def test_bundle_files_answer_as_the_trees(name, table, request):
    """The check between fitting and judging: ONNX = trees within 1e-5, alone as in a batch."""
    trained = request.getfixturevalue(name)
    sample = table.filter(regex="^[^_]").to_numpy(np.float32)
    assert artefact_checks.exported_model(trained.files, sample) is None
    without = {key: content for key, content in trained.files.items() if key != DECISION_FILE}
    assert artefact_checks.exported_model(without, sample) == "the bundle lacks decision.json"


def test_the_models_have_learnt_something(assembled):
    """Far better than chance on people of held-out accidents, calibrated, and steady under gaps."""
    metrics = assembled.bundle.metrics
    assert metrics["roc_auc"] > 0.7  # about five standard errors above chance, with so few people
    assert metrics["ece"] < 0.08
    assert metrics["roc_auc"] > metrics["roc_auc_unknown_10"] > metrics["roc_auc_unknown_50"] > 0.55
    assert list(metrics)[:6] == ["roc_auc", "average_precision", "brier", "ece", "accuracy", "majority_accuracy"]
    assert metrics["coverage_grave"] > 0.8


def test_the_same_inputs_and_seed_give_the_same_version(table, training, boosting):
    """Nothing of the clock, the run or the order of threads may reach the bytes."""
    again = candidate.train(table, training, BOOSTING, replace(RECIPE, jobs=2))
    assert {n: hash(c) for n, c in again.files.items()} == {n: hash(c) for n, c in boosting.files.items()}


def test_scores_are_the_same_bits_alone_in_a_batch_and_in_another_order(assembled, victims):
    """The yearly asset, a request of a thousand and a single record give one and the same number."""
    scorer = AccidentScorer.from_files(assembled.bundle.files, assembled.bundle)
    columns = columns_of(victims.head(400))
    whole = scorer.probability(columns)
    alone = [scorer.probability({k: v[i : i + 1] for k, v in columns.items()})[0] for i in range(400)]
    assert np.array(alone).tobytes() == whole.tobytes()
    assert scorer.probability({k: v[::-1] for k, v in columns.items()})[::-1].tobytes() == whole.tobytes()
    answer = scorer.answer(columns)
    assert ((answer.probability >= scorer.threshold) == answer.grave).all()


def test_a_manifest_with_other_inputs_is_refused(assembled):
    """A server must not answer with columns in places where the model does not expect them."""
    signature = json.loads(json.dumps(assembled.bundle.signature))
    signature["inputs"].reverse()
    with pytest.raises(ValueError, match="other inputs"):
        AccidentScorer.from_files(assembled.bundle.files, SimpleNamespace(signature=signature))


def test_explanations_speak_the_codebook(assembled, victims):
    """A motorcyclist's vehicle and a missing birth year are both said in words."""
    scorer = AccidentScorer.from_files(assembled.bundle.files)
    columns = {k: v[:1].copy() for k, v in columns_of(victims[victims["catv"] == 33]).items()}
    columns["an_nais"][0] = -1
    factors = {factor.column: factor for factor in scorer.explain(columns, most=60)[0]}
    assert factors["catv"].words.startswith("Motorcycle")
    assert factors["an_nais"].value is None
    assert factors["an_nais"].words == "unknown"
    assert len(scorer.explain(columns, most=3)[0]) == 3


def test_bundle_carries_profile_and_card(assembled):
    """What drift checks and people read; no clock in either."""
    profile = read_reference(assembled.bundle.files["reference.json"])
    assert profile.model == "accidents"
    assert profile.columns["catu"].kind == "categorical"
    assert profile.columns["hrmn"].kind == "numeric"
    assert "com" not in profile.columns
    text = assembled.bundle.files["card.md"].decode()
    assert "| roc_auc |" in text
    assert "catu: driver" in text
    assert json.loads(assembled.bundle.files[FEATURES_FILE])["feature_set"] == "call"


def test_below_the_floor_is_a_warning_and_the_gates_word(assembled, tmp_path, monkeypatch):
    """It would stop the run otherwise, before the gate could refuse it on the record."""
    for floor, worthy in (("0.5", True), ("0.999", False)):
        monkeypatch.setenv("ACCIDENT_RECO_ACCIDENTS_FLOOR", floor)
        told = candidate_complete(MODEL, assembled.bundle, Platform(home=str(tmp_path)))
        assert (told.passed, told.warn) == (worthy, True)
    assert told.reason.endswith("is below the floor 0.9990")


def test_a_version_compared_with_itself_gains_nothing(assembled):
    """The gate's comparison: same rows, whole accidents, no slice better or worse."""
    scorer = AccidentScorer.from_files(assembled.bundle.files)
    found = compare(scorer, scorer, assembled.holdout, seed=0)
    assert found.gain.value == found.gain.low == found.gain.high == 0
    assert found.groups < found.rows == len(assembled.holdout.label)
    assert all(part.gain.value == 0 for part in found.slices)


def test_a_holdout_of_one_class_is_refused(victims):
    """A tiny source must say so instead of reporting NaN."""
    light = victims[~severe_label(victims["grav"].to_numpy()).astype(bool)]
    with pytest.raises(ValueError, match="both classes"):
        Holdout.of(light)


def test_time_is_told_apart_from_people(training, victims, monkeypatch):
    """Were the rules turned around in the newest months, the model of the months before would be worse than chance."""
    monkeypatch.setattr("accident_reco.models.accidents.training.out_of_time.FEWEST", 20)
    holdout = Holdout.of(victims)
    metrics, months = out_of_time(training, holdout, "call", 0, 1)
    assert abs(metrics["roc_auc_out_of_time"] - metrics["roc_auc_in_time"]) < 0.1
    first = int(months[0].part.replace("-", ""))
    late, newest = months_of(columns_of(training)) >= first, months_of(holdout.columns) >= first
    turned = training.assign(grav=np.where(late, training["grav"].map({1: 3, 4: 3, 2: 1, 3: 1}), training["grav"]))
    label = np.where(newest, 1 - holdout.label, holdout.label).astype(np.int8)
    spoilt, _ = out_of_time(turned, Holdout(holdout.columns, label), "call", 0, 1)
    assert spoilt["roc_auc_out_of_time"] < 0.4 < spoilt["roc_auc_in_time"]
    assert out_of_time(training.assign(mois=np.int16(1)), holdout, "call", 0, 1) == ({}, [])
