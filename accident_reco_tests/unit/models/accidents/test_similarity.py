"""Similarity of two tables: by hand on small columns, and as SDMetrics on a table with every kind of pair."""

import math

import numpy as np
import pandas as pd
import pytest

from accident_reco.models.accidents.synthesis.similarity import (
    Similarity,
    compare_tables,
    contingency_similarity,
    correlation_similarity,
    ks_complement,
    tv_complement,
)

MISSING = float("nan")


@pytest.mark.parametrize(
    ("real", "synthetic", "expected"),
    [
        ([1, 2, 3, 4], [4, 3, 2, 1], 1.0),
        ([1, 2, 3, 4], [1, 2, 7, 8], 0.5),
        ([1, 2], [3, 4], 0.0),
        ([1, 2, MISSING], [1, 2, MISSING, MISSING], 1.0),
        ([0.1 + 0.2], [0.3], 1.0),
        ([MISSING], [1.0], MISSING),
    ],
)
def test_shape_of_numbers(real, synthetic, expected):
    """1 - the largest difference of the distribution functions of known numbers; rounding errors are no difference."""
    score = ks_complement(pd.Series(real, dtype=float), pd.Series(synthetic, dtype=float))
    assert score == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("real", "synthetic", "expected"),
    [
        ([1, 1, 2, 2], [2, 1, 2, 1], 1.0),
        ([1, 1, 2, 2], [1, 1, 1, 2], 0.75),
        ([1, 1], [2, 3], 0.0),
        ([1, -1], [1, 1], 0.5),
        ([], [1], MISSING),
    ],
)
def test_shape_of_codes(real, synthetic, expected):
    """1 - half the sum of the differences of shares; -1 is a code like the others."""
    score = tv_complement(pd.Series(real, dtype=float), pd.Series(synthetic, dtype=float))
    assert score == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("real", "synthetic", "expected"),
    [
        ([1, 2, 3], [2, 4, 6], 1.0),
        ([1, 2, 3], [3, 2, 1], 0.0),
        ([1, 2, 1], [1, 2, 3], None),
        ([1, 2, 3], [5, 5, 5], None),
        ([1, 2, MISSING], [1, 2, 3], 1.0),
    ],
)
def test_trend_of_two_numbers(real, synthetic, expected):
    """1 - half the difference of correlations; without a real correlation, or with a constant, there is no score."""
    ours, theirs = (pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [float(v) for v in b]}) for b in (real, synthetic))
    assert correlation_similarity(ours, theirs) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("real", "synthetic", "expected"),
    [
        ([[5, 0], [0, 5]], [[1, 0], [0, 1]], 1.0),
        ([[5, 0], [0, 5]], [[1, 1], [1, 1]], 0.5),
        ([[5, 0, 0], [0, 5, 0]], [[0, 0, 1], [0, 0, 1]], 0.0),
        ([[5, 5], [5, 5]], [[1, 0], [0, 1]], None),
        ([[5, 5], [0, 0]], [[1, 0], [0, 1]], None),
        ([[5, 0], [0, 5]], [[0, 0], [0, 0]], None),
    ],
)
def test_trend_of_two_codes(real, synthetic, expected):
    """1 - half the sum of the differences of shares of pairs; without a real association there is no score."""
    score = contingency_similarity(np.array(real), np.array(synthetic))
    assert score == (None if expected is None else pytest.approx(expected))


def _build_table(rows: int, shift: int) -> pd.DataFrame:
    """Related codes and numbers, a constant and missing values; by arithmetic alone, thus the same for ever."""
    i = np.arange(rows)
    level = (i * 7 + shift) % 10
    other = (i * 3 + shift * i % 5) % 4
    x = level + (i * 11 % 7) / 7
    y = 2 * x + (i * (5 + shift) % 13) / 4
    return pd.DataFrame(
        {
            "level": level // 3,
            "near": (level + other // 2) // 4,
            "apart": other,
            "one": np.ones(rows, dtype=np.int64),
            "x": np.where(i % 17 == 0, np.nan, x),
            "y": y,
            "w": (i * i % 11).astype(float),
            "constant": np.full(rows, 3.0),
        }
    )


def test_numbers_are_those_of_sdmetrics():
    """The expected values were computed by `QualityReport` of SDMetrics 0.32.0 on these two tables."""
    found = compare_tables(
        _build_table(200, 0), _build_table(150, 3), ["level", "near", "apart", "one"], ["x", "y", "w", "constant"]
    )
    expected_shapes = {
        "level": 1.0,
        "near": 0.9933333333333333,
        "apart": 0.9933333333333333,
        "one": 1.0,
        "x": 0.9875886524822695,
        "y": 0.965,
        "w": 0.9933333333333333,
        "constant": 1.0,
    }
    expected_pairs = {
        ("level", "near"): 0.9933333333333333,
        ("level", "x"): 0.98,
        ("level", "y"): 0.9,
        ("near", "x"): 0.9783333333333333,
        ("near", "y"): 0.8983333333333333,
        ("apart", "x"): 0.3983333333333333,
        ("x", "y"): 0.9999301743796994,
    }
    assert found.shapes == pytest.approx(expected_shapes)
    assert found.pairs == pytest.approx(expected_pairs)
    assert found.column_shapes == pytest.approx(0.9915735815602836)
    assert found.pair_trends == pytest.approx(0.878323358244719)
    assert found.quality == pytest.approx(0.9349484699025012)


def test_without_any_trend_the_shapes_are_the_score():
    """One column has no pair, and no column no score at all."""
    table = pd.DataFrame({"a": [1, 2]})
    found = compare_tables(table, table, ["a"], [])
    assert (found.quality, found.pairs) == (1.0, {})
    assert math.isnan(found.pair_trends)
    assert math.isnan(Similarity({}, {}).quality)
