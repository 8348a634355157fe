"""The parameter search: budget, choice, and that it never returns worse parameters than the current ones."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.synthesis.sequential import Synthesizer
from accident_reco.models.accidents.training import artefact_checks, candidate, parameters, tuning
from accident_reco.models.accidents.training.config import TrainingConfig
from accident_reco.models.accidents.training.fitting import BoostingParameters, ForestParameters
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store
from accident_reco_tests.support.population import build_population

SPACE = {"a": (0, 1, 2, 3, 4, 5), "b": (0, 1, 2, 3, 4, 5)}
START = {"a": 0, "b": 0}


class Bench:
    """An objective with its own clock, which advances by a second per evaluation."""

    def __init__(self, score):
        self.score, self.now, self.evaluated = score, 0.0, []

    def objective(self, values, fold):
        self.now += 1.0
        self.evaluated.append((dict(values), fold))
        return self.score(values, fold)

    def search(self, seconds, seed=0):
        return tuning.search(self.objective, START, SPACE, seconds, seed, clock=lambda: self.now)


def test_optimum_is_found_and_most_trials_end_early():
    """Fewer trials reach the later folds; the optimum of a smooth function is evaluated on all of them."""
    bench = Bench(lambda v, fold: 0.8 - 0.01 * (abs(v["a"] - 3) + abs(v["b"] - 4)) + 0.001 * fold)
    found = bench.search(90)
    assert found.chosen == {"a": 3, "b": 4}
    assert found.gain == pytest.approx(0.07)
    by_fold = np.bincount([fold for _, fold in bench.evaluated])
    assert by_fold[0] > 2 * by_fold[1] > 0
    assert by_fold[2] >= by_fold[3] > 0
    points = [tuple(trial.parameters.items()) for trial in found.trials]
    assert len(points) == len(set(points))


@pytest.mark.parametrize("seconds", [0.5, 1, 4, 10, 25])
def test_budget_is_kept(seconds):
    """No evaluation begins after the budget is spent, except those of the current parameters."""
    bench = Bench(lambda v, fold: 0.5 + 0.01 * v["a"])
    found = bench.search(seconds)
    assert bench.now == max(np.ceil(seconds), tuning.FOLDS)
    assert found.seconds == bench.now
    assert found.gain >= 0


def test_current_parameters_are_kept_on_equal_scores():
    """A change of parameters needs a gain."""
    found = Bench(lambda v, fold: 0.7).search(60)
    assert found.chosen == START
    assert found.gain == 0


def test_current_value_outside_of_the_space_takes_part():
    """Defaults need not be values of the space."""
    found = tuning.search(lambda v, fold: 0.5 + 0.1 * (v["a"] == 9), {"a": 9, "b": 0}, SPACE, 1, 0)
    assert found.chosen == {"a": 9, "b": 0}


def test_same_seed_draws_the_same_trials():
    """The clock determines the number of trials, never their values."""
    few, many = (Bench(lambda v, fold: 0.5 + 0.01 * v["b"]).search(seconds) for seconds in (12, 50))
    assert [t.parameters for t in many.trials[: len(few.trials)]] == [t.parameters for t in few.trials]
    assert len(many.trials) > len(few.trials) > 2


@pytest.fixture(scope="module")
def table():
    victims = build_population(400, 5)
    real = victims[~in_holdout(victims["Num_Acc"].to_numpy())]
    training = candidate.build_training_frame(victims, Synthesizer(seed=1, jobs=1).synthesize(real, len(real)), 0.5, 1)
    return candidate.build_feature_frame(training, TrainingConfig(jobs=1))


def test_next_training_uses_tuned_parameters(table, tmp_path):
    """From the feature table to parameters: stored, within the space, and used for the same data only."""
    settings = Settings.load(home=tmp_path, accidents_tuning_seconds=0.2, training_jobs=1, accidents_forest_trees=6)
    document = json.loads(json.dumps(parameters.tune_candidates(table, "sample", settings)))
    assert artefact_checks.check_tuned_parameters(document) is None
    store = open_store(str(tmp_path))
    assert parameters.read_tuned_parameters(store, "accidents", "sample", "call") == (
        None,
        "as shipped: no search was run",
    )
    document["boosting"]["chosen"]["leaves"] = 31
    store.write(parameters.get_tuned_key("accidents"), json.dumps(document).encode())
    tuned, why = parameters.read_tuned_parameters(store, "accidents", "sample", "call")
    assert why.startswith("tuned on")
    selected = parameters.select_parameters(settings, 50_000, tuned)
    assert selected["boosting"].leaves == 31
    assert selected["forest"].trees == 6
    assert parameters.read_tuned_parameters(store, "accidents", "official", "call")[0] is None
    assert "feature_set call, this is full" in parameters.read_tuned_parameters(store, "accidents", "sample", "full")[1]


def test_search_uses_neither_synthetic_rows_nor_soft_labels(table):
    """Labels as recorded; rows with simulated missing values are trained on but not scored."""
    rows, num_acc, complete = candidate.select_search_rows(table)
    assert set(np.unique(rows.y)) == {0, 1}
    assert (num_acc > 0).all()
    real = (table["_origin"] == candidate.REAL).sum()
    assert complete.sum() == real < len(complete) < 2 * real


def test_document_outside_of_the_space_is_rejected():
    """An edited document, or a search with a worse result, must not reach a training."""
    good = {
        name: {"chosen": {k: asdict(p)[k] for k in tuning.SPACE[name]}, "gain": 0.0}
        for name, p in (("forest", ForestParameters()), ("boosting", BoostingParameters()))
    }
    assert artefact_checks.check_tuned_parameters(good) is None
    outside = {**good, "forest": {"chosen": {**good["forest"]["chosen"], "leaf": -1}, "gain": 0.0}}
    assert artefact_checks.check_tuned_parameters(outside) == "not in the declared space: forest.leaf"
    worse = {**good, "boosting": {**good["boosting"], "gain": -0.001}}
    assert artefact_checks.check_tuned_parameters(worse) == "worse than the parameters in use before: boosting"


def test_folds_keep_accidents_whole():
    """Otherwise a model would be trained on the other users of an accident, whose severities are related."""
    numbers = np.repeat(np.arange(200), 3)
    fold = tuning.assign_folds(numbers, 4, 1)
    assert set(fold) == {0, 1, 2, 3}
    assert (fold.reshape(-1, 3) == fold.reshape(-1, 3)[:, :1]).all()
