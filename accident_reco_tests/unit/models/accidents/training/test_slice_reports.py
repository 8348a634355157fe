"""What the card reports by group: errors at the threshold, reliability curves, people of unknown age."""

import numpy as np
import pytest

from accident_reco.models.accidents.training import metrics, slice_reports


@pytest.fixture
def rows() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """4,000 people of two sexes, calibrated except for women, who are predicted too low; 400 more who fled."""
    rng = np.random.default_rng(0)
    n = 4_400
    fled = np.arange(n) >= 4_000
    truth = rng.uniform(0.05, 0.6, n)
    label = ((rng.random(n) < truth) & ~fled).astype(np.int8)
    sex = np.where(fled, -1, rng.integers(1, 3, n))
    columns = {
        "sexe": sex,
        "an": np.full(n, 2024),
        "mois": np.full(n, 5),
        "an_nais": np.where(fled, -1, rng.integers(1950, 2005, n)),
        "dep": np.array(["59"] * n, dtype=object),
        **{name: np.full(n, 1) for name in ("catu", "agg", "lum", "catr")},
        "catv": np.full(n, 7),
    }
    return columns, label, np.where(sex == 2, truth - 0.04, truth)


def test_error_rates_by_sex_and_age(rows):
    """Recall and false alarms as counted by hand; people who fled are no slice: none of them is severe."""
    columns, label, probability = rows
    rates = slice_reports.measure_error_rates(columns, label, probability, 0.3)
    assert {rate.dimension for rate in rates} == {"sexe", "age"}
    assert "unknown" not in {rate.part for rate in rates}
    women = next(rate for rate in rates if rate.part == "female")
    own = columns["sexe"] == 2
    assert women.recall == pytest.approx((probability[own & (label == 1)] >= 0.3).mean())
    assert women.false_alarm_rate == pytest.approx((probability[own & (label == 0)] >= 0.3).mean())
    men = next(rate for rate in rates if rate.part == "male")
    found = slice_reports.compute_odds_differences(rates)
    expected = max(abs(men.recall - women.recall), abs(men.false_alarm_rate - women.false_alarm_rate))
    assert found["equalised_odds_sexe"] == pytest.approx(expected)


def test_a_slice_that_is_predicted_too_low_is_seen(rows):
    """Calibrated overall is not calibrated for women: their curve has the larger error."""
    columns, label, probability = rows
    curves = {curve.name: curve for curve in slice_reports.compute_reliability(columns, label, probability)}
    assert curves["sexe: female"].error > curves["sexe: male"].error
    assert curves["sexe: female"].error == pytest.approx(0.04, abs=0.02)
    assert curves["everybody"].rows.sum() == len(label)
    assert "sexe: unknown" not in curves, "fewer than a thousand"


def test_people_of_unknown_age_are_told(rows):
    """The trap of the data: whoever fled is recorded as unharmed."""
    columns, label, _ = rows
    assert slice_reports.describe_unknown_age(columns, label) == (
        "400 road users of the holdout have no year of birth, 0 of them are severe."
    )
    known = {**columns, "an_nais": np.full(len(label), 1980)}
    assert slice_reports.describe_unknown_age(known, label).startswith("every road user")


def test_calibration_error_over_bins_of_equal_width():
    """Two bins with known distances, weighted by their rows; a probability of 1 is in the last bin."""
    p = np.array([0.01, 0.01, 0.01, 1.0])
    y = np.array([0, 0, 1, 1])
    assert metrics.expected_calibration_error_equal_width(y, p) == pytest.approx(abs(1 / 3 - 0.01) * 3 / 4)
