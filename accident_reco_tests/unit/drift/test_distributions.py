"""Distributions that reports keep: shares of both samples, the same bins for both, nothing lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from accident_reco.drift.distributions import MAX_BINS, MAX_CATEGORIES, MAX_CHARACTERS, describe_distribution
from accident_reco.lifecycle.reference import build_reference, read_reference


def describe(kind: Any, before: np.ndarray, now: np.ndarray) -> dict[str, Any] | None:
    reference = read_reference(build_reference({"x": before}, {"x": kind}))
    return describe_distribution(reference.columns["x"], now)


def test_the_same_values_have_the_same_shares() -> None:
    rng = np.random.default_rng(0)
    for kind, values in (
        ("numeric", rng.normal(size=5_000)),
        ("numeric", rng.integers(0, 7, 5_000).astype(float)),
        ("categorical", rng.integers(0, 30, 5_000)),
    ):
        found = describe(kind, values, values)
        assert found is not None
        assert found["reference"] == pytest.approx(found["window"], abs=0.003)
        assert sum(found["reference"]) == pytest.approx(1, abs=1e-3)


def test_numbers_outside_the_reference_count_in_the_outer_bins() -> None:
    found = describe("numeric", np.linspace(0, 100, 1_001), np.array([-50.0, 50.0, 900.0, 900.0, np.nan]))
    assert found is not None
    assert len(found["edges"]) == MAX_BINS + 1
    assert found["window"][0] == 0.25
    assert found["window"][-1] == 0.5


def test_few_whole_numbers_have_a_bin_each() -> None:
    found = describe("numeric", np.array([1.0, 1, 2, 4]), np.array([2.0, 2, 4]))
    assert found is not None
    assert found["edges"] == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert found["reference"] == [0.5, 0.25, 0, 0.25]
    assert found["window"] == pytest.approx([0, 0.66667, 0, 0.33333])


def test_one_value_has_one_bin() -> None:
    found = describe("numeric", np.full(9, 2.5), np.array([2.5, 3.0]))
    assert found == {"edges": [2.0, 3.0], "reference": [1.0], "window": [1.0]}


def test_categories_by_frequency_in_either_sample_and_all_others() -> None:
    """A new category of the window is named; rare ones are together; missing values are not counted."""
    before = np.concatenate((np.repeat(np.arange(15), np.arange(15, 0, -1)), np.full(40, -1)))
    found = describe("categorical", before, np.array([99] * 8 + [0] * 2 + [-1] * 5))
    assert found is not None
    assert found["values"][:2] == [99, 0]
    assert len(found["values"]) == MAX_CATEGORIES + 1
    assert found["values"][-1] is None
    assert found["window"][:2] == [0.8, 0.2]
    assert found["reference"][1] == pytest.approx(15 / 120)


def test_texts_of_clients_are_cut() -> None:
    found = describe("categorical", np.array(["59", "75"], dtype=object), np.array(["<b>" * 100], dtype=object))
    assert found is not None
    assert max(len(value) for value in found["values"]) == MAX_CHARACTERS


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_nothing_known_has_no_distribution(kind: Any) -> None:
    known, unknown = np.array([1.0, 2]), np.array([np.nan, np.nan])
    if kind == "categorical":
        known, unknown = np.array([1, 2]), np.array([-1, -1])
    assert describe(kind, known, unknown) is None
    assert describe(kind, unknown, known) is None
