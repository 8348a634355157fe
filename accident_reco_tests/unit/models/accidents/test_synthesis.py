"""Synthetic road users: distributed as real ones, within the constraints, never copies."""

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.synthesis import quality, sequential
from accident_reco.models.accidents.synthesis.constraints import CONSTRAINTS, find_violations
from accident_reco.models.accidents.synthesis.sequential import COLUMNS, Synthesizer
from accident_reco.models.accidents.training import artefact_checks
from accident_reco.models.accidents.training.fitting import BoostingParameters
from accident_reco.models.accidents.training.training_rows import extract_columns
from accident_reco_tests.support.population import build_population


@pytest.fixture(scope="module")
def synthetic() -> pd.DataFrame:
    return Synthesizer(seed=3, jobs=1).synthesize(build_population(), 2000)


def test_constraints_are_satisfied_and_numbers_are_not_real(synthetic):
    """A pedestrian has no seat, a bicycle no motorway; synthetic accident numbers are negative."""
    assert len(synthetic) == 2000
    assert artefact_checks.check_synthetic_rows(synthetic) is None
    assert (synthetic["Num_Acc"] < 0).all()
    assert synthetic["Num_Acc"].is_unique
    assert synthetic["synthetic"].all()


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_every_constraint_finds_its_violation(constraint, synthetic):
    """A constraint that nothing violates would be useless."""
    values = {
        "a pedestrian has no seat": {"catu": 3, "place": 1},
        "only a pedestrian has the pedestrian's place": {"catu": 1, "place": 10},
        "a driver sits at the wheel": {"catu": 1, "place": 4},
        "a bicycle is on no motorway": {"catr": 1, "catv": 1, "catu": 1},
        "a cyclist wears no belt": {"catv": 1, "catu": 1, "secu1": 1},
        "no birth after the accident": {"an": 2023, "an_nais": 2024},
        "no child drives a car": {"catu": 1, "catv": 7, "an": 2023, "an_nais": 2019},
        "a pedestrian's accident counts a pedestrian": {"catu": 3, "nb_pedestrians": 0},
        "an accident has at least its own user": {"nb_users": 0},
        "no more pedestrians than users": {"nb_pedestrians": 3, "nb_users": 2},
    }[constraint]
    row = {**{name: synthetic[name].to_numpy()[:1] for name in COLUMNS}}
    row |= {name: np.array([value]) for name, value in values.items()}
    assert find_violations(row)[constraint].tolist() == [True]
    message = artefact_checks.check_synthetic_rows(pd.DataFrame(row).assign(Num_Acc=-1))
    assert message is not None
    assert constraint in message


def test_distribution_is_that_of_real_rows(synthetic):
    """Shares of each column, and the relation of severity with vehicle and speed."""
    real = build_population()
    for name in ("catu", "catv", "vma", "grav", "secu1", "catr"):
        ours, theirs = (frame[name].value_counts(normalize=True) for frame in (synthetic, real))
        assert float(ours.subtract(theirs, fill_value=0).abs().sum()) / 2 < 0.06, name
    rates = [frame.assign(g=frame["grav"].isin((2, 3))).groupby("catv")["g"].mean() for frame in (synthetic, real)]
    assert float((rates[0] - rates[1]).abs().max()) < 0.12


def test_drivers_are_their_own_driver(synthetic):
    """Columns that follow from others are derived, not drawn."""
    drivers = synthetic[synthetic["catu"] == 1]
    assert (drivers["driver_an_nais"] == drivers["an_nais"]).all()
    assert (drivers["driver_sexe"] == drivers["sexe"]).all()


def test_same_seed_gives_the_same_rows(synthetic):
    """Reproducible to the row, whether or not sums are split over cores; another seed gives others."""
    with threadpool_limits(1, "blas"):
        again = Synthesizer(seed=3, jobs=1).synthesize(build_population(), 2000)
    pd.testing.assert_frame_equal(again, synthetic)
    other = Synthesizer(seed=4, jobs=1).synthesize(build_population(), 2000)
    assert not other["lat"].equals(synthetic["lat"])


def test_donor_of_which_every_draw_is_a_copy_is_replaced(monkeypatch):
    """One rare road user of 75,000 of whom every draw is a copy must not fail a training: another donor is drawn."""
    monkeypatch.setattr(sequential, "MAX_REDRAWS", 0)
    synthetic = Synthesizer(leaf=2, seed=3, jobs=1).synthesize(build_population(), 2000)
    assert len(synthetic) == 2000
    assert artefact_checks.check_synthetic_rows(synthetic) is None


def test_no_row_is_a_copy(synthetic):
    """No synthetic row has all values of a real one; coordinates differ as well."""
    names = [name for name in COLUMNS if name not in ("lat", "long")]
    real = {tuple(row) for row in build_population()[names].itertuples(index=False)}
    copies = sum(tuple(row) in real for row in synthetic[names].itertuples(index=False))
    assert copies == 0
    assert set(extract_columns(synthetic)["lat"]).isdisjoint(build_population()["lat"])


@pytest.mark.slow
def test_quality_is_measured_on_the_holdout(monkeypatch):
    """Shapes near one, hard to discriminate, nearly as useful for training; noise misses the goals."""
    monkeypatch.setattr(quality, "FAST_BOOSTING", BoostingParameters(rounds=30, leaves=15, rate=0.1))
    victims = build_population()
    real = victims[~in_holdout(victims["Num_Acc"].to_numpy())]
    good = quality.measure_quality(victims, Synthesizer(seed=5, jobs=1).synthesize(real, len(real)), seed=0, jobs=1)
    assert good.numbers["quality"] > 0.9
    assert good.numbers["discriminator_auc"] < 0.75
    assert abs(good.numbers["teaching_gap"]) < 0.06
    assert 0.7 < good.numbers["distance_ratio"] < 1.5
    assert quality.plot_quality(good).startswith(b"\x89PNG")
    rng = np.random.default_rng(0)
    noise = real.assign(**{name: rng.permutation(real[name].to_numpy()) for name in COLUMNS})
    bad = quality.measure_quality(victims, noise, seed=0, jobs=1)
    assert bad.numbers["pair_trends"] < good.numbers["pair_trends"]
    assert bad.numbers["discriminator_auc"] > 0.8
    assert len(bad.missed_goals) >= 2
