"""The search within a budget: what it spends, whom it keeps, and that it never loses against what is in use."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.synthesis.sequential import Synthesizer
from accident_reco.models.accidents.training import artefact_checks, assembly, candidate, tuning
from accident_reco.models.accidents.training.candidate import Recipe
from accident_reco.models.accidents.training.fitting import BoostingParameters, ForestParameters
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store
from accident_reco_tests.unit.model.people import population

SPACE = {"a": (0, 1, 2, 3, 4, 5), "b": (0, 1, 2, 3, 4, 5)}
START = {"a": 0, "b": 0}


class Bench:
    """A judge whose clock goes forward by a second per judgement."""

    def __init__(self, score):
        self.score, self.now, self.asked = score, 0.0, []

    def judge(self, values, fold):
        self.now += 1.0
        self.asked.append((dict(values), fold))
        return self.score(values, fold)

    def search(self, seconds, seed=0):
        return tuning.search(self.judge, START, SPACE, seconds, seed, clock=lambda: self.now)


def test_the_best_is_found_and_most_time_goes_to_the_good_ones():
    """A third goes on from fold to fold; the optimum of a smooth function survives to the last."""
    bench = Bench(lambda v, fold: 0.8 - 0.01 * (abs(v["a"] - 3) + abs(v["b"] - 4)) + 0.001 * fold)
    found = bench.search(90)
    assert found.chosen == {"a": 3, "b": 4}
    assert found.gain == pytest.approx(0.07)
    by_fold = np.bincount([fold for _, fold in bench.asked])
    assert by_fold[0] == 36
    assert by_fold[1] == 13
    assert len(next(trial.roc_auc for trial in found.trials if trial.parameters == found.chosen)) == tuning.FOLDS


@pytest.mark.parametrize("seconds", [0.5, 1, 4, 10, 25])
def test_the_budget_is_kept(seconds):
    """One judgement more than the budget at most, and one per fold of what is in use."""
    bench = Bench(lambda v, fold: 0.5 + 0.01 * v["a"])
    found = bench.search(seconds)
    assert bench.now <= max(seconds, 1) + 2
    assert found.seconds == bench.now
    assert found.gain >= 0


def test_what_is_in_use_stays_unless_beaten():
    """On equal scores nothing changes: a change must be worth something."""
    found = Bench(lambda v, fold: 0.7).search(60)
    assert found.chosen == START
    assert found.gain == 0


def test_the_same_seed_draws_the_same_trials():
    """The clock decides how many, never which."""
    few, many = (Bench(lambda v, fold: 0.5).search(seconds) for seconds in (6, 40))
    assert [t.parameters for t in many.trials[: len(few.trials)]] == [t.parameters for t in few.trials]
    assert len(many.trials) > len(few.trials)


@pytest.fixture(scope="module")
def table():
    victims = population(400, 5)
    real = victims[~in_holdout(victims["Num_Acc"].to_numpy())]
    training = candidate.training_frame(victims, Synthesizer(seed=1, jobs=1).synthesize(real, len(real)), 0.5, 1)
    return candidate.feature_frame(training, Recipe(jobs=1))


def test_candidates_are_searched_and_the_next_training_takes_what_was_found(table, tmp_path):
    """From the feature table to parameters: recorded, held to the space, and only for the data they were found on."""
    settings = Settings.load(home=tmp_path, accidents_tuning_seconds=0.2, training_jobs=1, accidents_forest_trees=6)
    document = json.loads(json.dumps(assembly.tune_candidates(table, "sample", settings)))
    assert artefact_checks.tuned_document(document) is None
    store = open_store(str(tmp_path))
    assert assembly.tuned_for(store, "sample", "call") == (None, "as shipped: no search was run")
    document["boosting"]["chosen"]["leaves"] = 31
    store.write(assembly.TUNED, json.dumps(document).encode())
    tuned, why = assembly.tuned_for(store, "sample", "call")
    assert why.startswith("tuned on")
    parameters = assembly.parameters_of(settings, 50_000, tuned)
    assert parameters["boosting"].leaves == 31
    assert parameters["forest"].trees == 6
    assert assembly.tuned_for(store, "official", "call")[0] is None
    assert "feature_set call, this is full" in assembly.tuned_for(store, "sample", "full")[1]


def test_the_search_sees_neither_validation_nor_synthetic_people_nor_teachers(table):
    """Labels as recorded; whole rows are scored, rows with gaps are only learnt from."""
    rows, num_acc, whole = candidate.search_rows(table, Recipe())
    assert set(np.unique(rows.y)) == {0, 1}
    assert (num_acc > 0).all()
    assert not candidate.in_validation(num_acc, 0.1).any()
    real = ((table["_origin"] == candidate.REAL) & ~candidate.in_validation(table["_Num_Acc"].to_numpy(), 0.1)).sum()
    assert whole.sum() == real < len(whole) < 2 * real


def test_a_document_outside_of_the_space_is_refused():
    """Somebody's edit of the stored file, or a search that lost, must not reach a training."""
    good = {
        name: {"chosen": {k: asdict(p)[k] for k in tuning.SPACE[name]}, "gain": 0.0}
        for name, p in (("forest", ForestParameters()), ("boosting", BoostingParameters()))
    }
    assert artefact_checks.tuned_document(good) is None
    strange = {**good, "forest": {"chosen": {**good["forest"]["chosen"], "leaf": -1}, "gain": 0.0}}
    assert artefact_checks.tuned_document(strange) == "not of the declared space: forest.leaf"
    lost = {**good, "boosting": {**good["boosting"], "gain": -0.001}}
    assert artefact_checks.tuned_document(lost) == "worse than what was in use: boosting"
