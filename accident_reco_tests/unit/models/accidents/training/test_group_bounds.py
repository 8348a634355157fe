"""Conformal bounds by group: which cells are merged, what a row gets, and that the coverage holds where promised."""

import json
from dataclasses import replace

import numpy as np
import pytest

from accident_reco.models.accidents.scoring.scorer import DecisionRule
from accident_reco.models.accidents.training import group_bounds
from accident_reco.models.accidents.training.calibration import fit_decision_rule
from accident_reco.models.accidents.training.group_bounds import MIN_ROWS, REGIONS, fit_group_bounds, merge_cells
from accident_reco.models.accidents.training.slice_reports import is_covered, measure_coverage


def _draw(n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Drivers of cars and motorcycles in twelve departments; severe ones of the first six have low margins.

    In those the police record light injuries as severe: bounds for everybody exclude nearly all of their severe.
    """
    rng = np.random.default_rng(seed)
    number = rng.integers(0, 12, n)
    columns = {
        "dep": np.array([f"{code + 1:02d}" for code in range(12)], dtype=object)[number],
        "agg": rng.integers(1, 3, n),
        "catu": np.full(n, 1),
        "catv": rng.choice([7, 33], n),
    }
    truth = rng.normal(-2.5 + 2.0 * (number >= 6) + 0.5 * (columns["catv"] == 33), 1.0)
    return columns, truth.astype(np.float64), (rng.random(n) < 1 / (1 + np.exp(-truth))).astype(np.int8)


@pytest.fixture(scope="module")
def rule() -> DecisionRule:
    columns, margin, label = _draw(30_000, 0)
    rule = fit_decision_rule(margin, label, 4.0, 0.9, seed=0)
    return replace(rule, groups=fit_group_bounds(rule, margin, label, columns))


def test_every_group_is_covered_and_one_pair_of_bounds_is_not_enough(rule):
    """Nine in ten of each class in each group, on other rows; with bounds for everybody the first region fails."""
    columns, margin, label = _draw(30_000, 1)
    probability = rule.probability(margin)
    groups = measure_coverage(rule, columns, label, probability)
    assert len(groups) >= REGIONS
    assert min(group.coverage_severe for group in groups) > 0.83
    assert min(group.coverage_light for group in groups) > 0.87
    alone = replace(rule, groups=None)
    first = np.isin(columns["dep"].astype(str), ["01", "02", "03"]) & (label == 1)
    assert is_covered(alone, columns, label, probability)[first].mean() < 0.75
    assert is_covered(rule, columns, label, probability)[first].mean() > 0.87
    assert measure_coverage(alone, columns, label, probability) == []


def test_an_unknown_part_of_the_group_leads_to_the_bounds_of_everybody(rule):
    """Nothing finer is promised without the department, the surroundings or the kind of user."""
    known = {"dep": np.array(["01"]), "agg": np.array([1]), "catu": np.array([1]), "catv": np.array([7])}
    everybody = (rule.uncertain_from, rule.uncertain_to)
    assert tuple(part[0] for part in rule.find_bounds(known)) != everybody
    for name, unknown in (("dep", np.array([None])), ("agg", np.array([-1])), ("catv", np.array([-1]))):
        assert tuple(part[0] for part in rule.find_bounds({**known, name: unknown})) == everybody, name
    without = {name: values for name, values in known.items() if name != "dep"}
    assert tuple(part[0] for part in rule.find_bounds(without)) == everybody
    on_foot = {**known, "catu": np.array([3]), "catv": np.array([-1])}
    assert rule.groups.find_groups(on_foot)[0] >= 0, "a pedestrian's kind is known without a vehicle"


def test_stored_bounds_are_the_fitted_ones_and_older_rules_have_none(rule):
    """`decision.json` of format 2; format 1, of a version of before, gives one pair of bounds."""
    columns, _, _ = _draw(500, 2)
    stored = DecisionRule.from_json(rule.to_json())
    assert stored.to_json() == rule.to_json()
    np.testing.assert_array_equal(stored.find_bounds(columns), rule.find_bounds(columns))
    older = json.loads(rule.to_json())
    del older["groups"]
    before = DecisionRule.from_json(json.dumps({**older, "format": 1}).encode())
    assert (before.find_bounds(columns)[0] == rule.uncertain_from).all()
    with pytest.raises(ValueError, match="format 1 or 2"):
        DecisionRule.from_json(json.dumps({**older, "format": 3}).encode())


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[100, 100], [100, 100]], [[(0, 0, 0)], [(0, 1, 0)], [(0, 0, 1)], [(0, 1, 1)]]),
        ([[40, 100], [70, 100]], [[(0, 0, 0), (0, 1, 0)], [(0, 0, 1)], [(0, 1, 1)]]),
        ([[40, 100], [30, 100]], [[(0, 0, 0), (0, 0, 1)], [(0, 1, 0), (0, 1, 1)]]),
        ([[100, 10], [100, 10]], [[(0, 0, 0), (0, 0, 1)], [(0, 1, 0), (0, 1, 1)]]),
        ([[10, 10], [10, 10]], []),
    ],
    ids=["large", "kinds merge", "regions merge", "small last region", "too small together"],
)
def test_cells_are_merged_until_large_enough(rows, expected, monkeypatch):
    """Rows of two kinds (lines) in two regions (columns) of one place, in each class as many."""
    assert MIN_ROWS == 100
    size = np.repeat(np.array(rows)[None, :, :, None], 2, axis=3)
    assert sorted(map(sorted, merge_cells(size))) == sorted(map(sorted, expected))
    monkeypatch.setattr(group_bounds, "MIN_ROWS", 1)
    assert len(merge_cells(size)) == 4
