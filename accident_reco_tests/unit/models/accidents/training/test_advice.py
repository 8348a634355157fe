"""Advice: the missing field that would change an answer most, checked against trying every training value."""

import numpy as np
import pandas as pd
import pytest

from accident_reco.models.accidents.features.builder import FeatureSpec, build_features
from accident_reco.models.accidents.scoring.advice import (
    EVERYBODY,
    MAX_EXACT_VALUES,
    AdviceTable,
    compute_entropy,
    find_groups,
    get_role,
    list_fields,
)
from accident_reco.models.accidents.scoring.scorer import ADVICE_FILE, AccidentScorer
from accident_reco.models.accidents.training import advice_table
from accident_reco.models.accidents.training.advice_table import MIN_ROWS, learn_advice_table
from accident_reco.models.accidents.training.calibration import fit_decision_rule
from accident_reco.models.accidents.training.candidate import build_uncalibrated_scorer
from accident_reco.models.accidents.training.fitting import BoostingParameters, TrainingRows, fit_boosting
from accident_reco.models.accidents.training.training_rows import extract_columns, mask_rows, severe_label, take
from accident_reco_tests.support.population import build_population


@pytest.fixture(scope="module")
def people() -> dict[str, np.ndarray]:
    return extract_columns(build_population(900, 5))


@pytest.fixture(scope="module")
def scorer(people) -> AccidentScorer:
    """A version of the people, with copies that have missing values, and their advice table."""
    spec, label = FeatureSpec.learn(people), severe_label(people["grav"])
    matrix = build_features(people, spec, training_rows=True)
    masked = build_features(mask_rows(people, spec, 0.8, 1), spec, training_rows=True)
    rows = TrainingRows(np.concatenate([matrix, masked]), np.tile(label, 2), np.ones(2 * len(label), dtype=np.float32))
    trees = fit_boosting(rows, BoostingParameters(rounds=40, leaves=15, members=1), 0, 1)
    bare = build_uncalibrated_scorer(trees, spec)
    rule = fit_decision_rule(bare.margin(matrix), label, 4.0, 0.9, seed=0)
    table = learn_advice_table(people, spec.columns).to_json()
    return AccidentScorer(bare._session, spec, rule, advice=table)


def test_advice_agrees_with_trying_every_value(people, scorer):
    """Expected change and expected entropy over all people of the group, field by field; codes exactly. A driver."""
    record = {"catu": np.array([1]), "catv": np.array([-1]), "vosp": np.array([0])}
    people = take(people, people["catu"] == 1)
    now = scorer.probability(record)[0]
    advice = {one.column: one for one in scorer.advise(record, 99)[0]}
    assert {"catr", "vma", "an_nais", "catv", "secu1", "com"} <= set(advice)
    for column in ("catr", "col", "lum", "catv", "vma", "hrmn", "other_kind", "nb_users"):
        values = people[column][people[column] >= 0]
        shares = pd.Series(values).value_counts(normalize=True)
        exact = column not in ("vma", "hrmn") and len(shares) <= MAX_EXACT_VALUES
        values = values[np.isin(values, shares[shares >= advice_table.RARE].index)] if exact else values
        tried = scorer.probability({**{name: np.repeat(v, len(values)) for name, v in record.items()}, column: values})
        tolerance = 2e-6 if exact else 0.1 * advice[column].change + 1e-4
        assert advice[column].change == pytest.approx(np.abs(tried - now).mean(), abs=tolerance), column
        reduction = compute_entropy(np.array([now]))[0] - compute_entropy(tried).mean()
        assert advice[column].uncertainty_reduction == pytest.approx(reduction, abs=2e-5 if exact else 0.01), column


def test_only_missing_fields_are_asked_for_and_only_sensible_ones(scorer):
    """Coordinates stand for the commune; a driver has a seat, and is no pedestrian; known fields are known."""
    driver = {"catu": np.array([1]), "catv": np.array([7]), "lat": np.array([48.9]), "long": np.array([2.4])}
    asked = {one.column for one in scorer.advise(driver, 99)[0]}
    assert asked.isdisjoint({"catu", "catv", "com", "lat", "dep", "place", "locp", "actp", "etatp", "driver_an_nais"})
    assert {"an_nais", "sexe", "secu1"} <= asked
    pedestrian = {"catu": np.array([3])}
    asked = {one.column for one in scorer.advise(pedestrian, 99)[0]}
    assert {"locp", "driver_an_nais"} <= asked
    assert "place" not in asked
    changes = [one.change for one in scorer.advise(driver, 99)[0]]
    assert changes == sorted(changes, reverse=True)
    assert len(scorer.advise(driver, 3)[0]) == 3


def test_who_is_known_no_longer_counts_as_unknown(scorer):
    """People of unknown sex and age fled and are unharmed in the files: knowing either leaves that group.

    Their count comes with the whole accident; a trial that kept it would still resemble those who fled.
    """
    trials: list[dict[str, np.ndarray]] = []
    fled = {"catu": np.array([1]), "sexe": np.array([-1]), "an_nais": np.array([-1]), "nb_unknown_users": np.array([1])}
    found = AccidentScorer(scorer._session, scorer.spec, scorer.rule, advice=scorer.advice_table.to_json())
    score = found.probability

    def record_trials(columns):
        trials.append(dict(columns))
        return score(columns)

    found.probability = record_trials  # type: ignore[method-assign]
    found.advise(fled)
    tried = trials[0]
    known = (tried["an_nais"] > 0) | (tried["sexe"] > 0)
    assert known.any()
    assert (tried["nb_unknown_users"][known] == 0).all()
    assert (tried["nb_unknown_users"][~known] == 1).all()
    assert (tried["driver_an_nais"][tried["an_nais"] > 0] > 0).all(), "the driver of the vehicle is the same person"


def test_groups_from_the_closest_to_everybody(people, scorer):
    """A group too small, or not determined by the known fields, takes the values of the next larger one."""
    record = {"catu": np.array([1, 1, -1]), "catv": np.array([7, -1, 7]), "agg": np.array([2, 2, -1])}
    assert find_groups(record) == [
        ("3/1@1", "3/1@", "/1@", EVERYBODY),
        ("/1@1", "/1@", "/1@", EVERYBODY),
        (EVERYBODY,) * 4,
    ]
    assert [get_role(group) for group in ("3/1@1", "0/3@", "/2@", EVERYBODY, "@1")] == [1, 3, 2, -1, -1]
    chains = np.array(find_groups(people))
    groups = scorer.advice_table.groups
    assert {EVERYBODY, "/1@", "/2@", "/3@"} <= set(groups)
    for group in groups:
        assert group in (EVERYBODY, "/1@", "/2@", "/3@") or (chains == group).any(axis=1).sum() >= MIN_ROWS
        for values in groups[group].values():
            assert values.weight.sum() == pytest.approx(1, abs=1e-4)


def test_stored_table_is_the_learnt_one(scorer):
    """`advice.json`: the same bytes again, the right types, and a clear error without it or in another format."""
    table = scorer.advice_table
    stored = AdviceTable.from_json(table.to_json())
    assert stored.to_json() == table.to_json()
    columns = stored.groups[EVERYBODY]["com"].columns
    assert columns["com"].dtype == object
    assert columns["lat"].dtype == np.float64
    assert stored.groups[EVERYBODY]["catr"].columns["catr"].dtype == np.int32
    with pytest.raises(ValueError, match="not of format"):
        AdviceTable.from_json(b'{"format": 0}')
    older = AccidentScorer(scorer._session, scorer.spec, scorer.rule)
    assert not older.can_advise
    with pytest.raises(ValueError, match=ADVICE_FILE):
        older.advise({"catu": np.array([1])})


def test_fields_move_together(scorer):
    """Who knows a place knows commune and coordinates; a driver's age is the age of the vehicle's driver."""
    fields = dict(list_fields(scorer.columns, 1))
    assert fields["com"] == ("com", "dep", "lat", "long")
    assert fields["an_nais"] == ("an_nais", "driver_an_nais")
    assert dict(list_fields(scorer.columns, 2))["an_nais"] == ("an_nais",)
