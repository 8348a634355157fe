"""Synthetic road users: believable, never impossible, never a copy."""

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.synthesis import quality, sequential
from accident_reco.models.accidents.synthesis.constraints import RULES, broken
from accident_reco.models.accidents.synthesis.sequential import COLUMNS, Synthesizer
from accident_reco.models.accidents.training import artefact_checks
from accident_reco.models.accidents.training.fitting import BoostingParameters
from accident_reco.models.accidents.training.training_rows import columns_of
from accident_reco_tests.unit.model.people import population


@pytest.fixture(scope="module")
def made() -> pd.DataFrame:
    return Synthesizer(seed=3, jobs=1).synthesize(population(), 2000)


def test_rules_are_kept_and_numbers_cannot_be_mistaken(made):
    """A pedestrian has no seat, a bicycle no motorway; synthetic accident numbers are negative."""
    assert len(made) == 2000
    assert artefact_checks.synthetic_people(made) is None
    assert (made["Num_Acc"] < 0).all()
    assert made["Num_Acc"].is_unique
    assert made["synthetic"].all()


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_finds_what_breaks_it(rule, made):
    """A rule that nothing can break would guard nothing."""
    wrong = {
        "a pedestrian has no seat": {"catu": 3, "place": 1},
        "only a pedestrian has the pedestrian's place": {"catu": 1, "place": 10},
        "a driver sits at the wheel": {"catu": 1, "place": 4},
        "a bicycle is on no motorway": {"catr": 1, "catv": 1, "catu": 1},
        "a cyclist wears no belt": {"catv": 1, "catu": 1, "secu1": 1},
        "nobody is born after the accident": {"an": 2023, "an_nais": 2024},
        "no child drives a car": {"catu": 1, "catv": 7, "an": 2023, "an_nais": 2019},
        "a pedestrian's accident counts a pedestrian": {"catu": 3, "nb_pedestrians": 0},
        "an accident has at least its own user": {"nb_users": 0},
        "no more pedestrians than users": {"nb_pedestrians": 3, "nb_users": 2},
    }[rule]
    row = {**{name: made[name].to_numpy()[:1] for name in COLUMNS}}
    row |= {name: np.array([value]) for name, value in wrong.items()}
    assert broken(row)[rule].tolist() == [True]
    message = artefact_checks.synthetic_people(pd.DataFrame(row).assign(Num_Acc=-1))
    assert message is not None
    assert rule in message


def test_what_is_learnt_from_the_people_holds_for_the_made_up(made):
    """Shares of each column and the link of severity with vehicle and speed are those of the real people."""
    real = population()
    for name in ("catu", "catv", "vma", "grav", "secu1", "catr"):
        ours, theirs = (frame[name].value_counts(normalize=True) for frame in (made, real))
        assert float(ours.subtract(theirs, fill_value=0).abs().sum()) / 2 < 0.06, name
    rates = [frame.assign(g=frame["grav"].isin((2, 3))).groupby("catv")["g"].mean() for frame in (made, real)]
    assert float((rates[0] - rates[1]).abs().max()) < 0.12


def test_drivers_are_their_own_driver(made):
    """What follows from another column is not drawn anew."""
    drivers = made[made["catu"] == 1]
    assert (drivers["driver_an_nais"] == drivers["an_nais"]).all()
    assert (drivers["driver_sexe"] == drivers["sexe"]).all()


def test_the_same_seed_makes_the_same_people(made):
    """Reproducible to the row, where sums are split over cores as where they are not; another seed makes others."""
    with threadpool_limits(1, "blas"):
        again = Synthesizer(seed=3, jobs=1).synthesize(population(), 2000)
    pd.testing.assert_frame_equal(again, made)
    other = Synthesizer(seed=4, jobs=1).synthesize(population(), 2000)
    assert not other["lat"].equals(made["lat"])


def test_another_takes_the_place_of_a_person_who_cannot_be_made_up(monkeypatch):
    """One rare person of 75,000 whose like is always a copy must not end a training: the row becomes somebody else."""
    monkeypatch.setattr(sequential, "PATIENCE", 0)
    made = Synthesizer(leaf=2, seed=3, jobs=1).synthesize(population(), 2000)
    assert len(made) == 2000
    assert artefact_checks.synthetic_people(made) is None


def test_nobody_is_copied(made):
    """No made-up person has all the values of a real one; coordinates are moved besides."""
    names = [name for name in COLUMNS if name not in ("lat", "long")]
    real = {tuple(row) for row in population()[names].itertuples(index=False)}
    copies = sum(tuple(row) in real for row in made[names].itertuples(index=False))
    assert copies == 0
    assert set(columns_of(made)["lat"]).isdisjoint(population()["lat"])


def test_quality_is_measured_on_people_the_synthesizer_never_saw(monkeypatch):
    """Shapes near one, hard to tell apart, nearly as instructive; noise instead of people fails every goal."""
    monkeypatch.setattr(quality, "QUICK", BoostingParameters(rounds=30, leaves=15, rate=0.1))
    victims = population()
    real = victims[~in_holdout(victims["Num_Acc"].to_numpy())]
    good = quality.measure(victims, Synthesizer(seed=5, jobs=1).synthesize(real, len(real)), seed=0, jobs=1)
    assert good.numbers["quality"] > 0.9
    assert good.numbers["discriminator_auc"] < 0.75
    assert abs(good.numbers["teaching_gap"]) < 0.06
    assert 0.7 < good.numbers["distance_ratio"] < 1.5
    assert quality.picture(good).startswith(b"\x89PNG")
    rng = np.random.default_rng(0)
    noise = real.assign(**{name: rng.permutation(real[name].to_numpy()) for name in COLUMNS})
    bad = quality.measure(victims, noise, seed=0, jobs=1)
    assert bad.numbers["pair_trends"] < good.numbers["pair_trends"]
    assert bad.numbers["discriminator_auc"] > 0.8
    assert len(bad.missed) >= 2
