"""Every field of a comparison against scipy and short formulas: known, missing, new, grouped values."""

import numpy as np
import pytest
from scipy import stats

from accident_reco.drift.statistics import (
    Comparison,
    benjamini_hochberg,
    chi_square,
    compare,
    kolmogorov_p_value,
    population_stability_index,
)
from accident_reco.lifecycle.columns import Groups
from accident_reco.lifecycle.reference import Column, Kind, build_reference, read_reference

UNKNOWN = -1


def column(values: np.ndarray, kind: Kind, groups: np.ndarray | None = None) -> Column:
    return read_reference(build_reference({"x": values}, {"x": kind}, groups)).columns["x"]


def pairs(values: np.ndarray) -> np.ndarray:
    """Group keys of rows that come in equal pairs: worth half as many independent rows."""
    return np.repeat(np.arange(len(values) // 2), 2)


def psi(now: np.ndarray, before: np.ndarray) -> float:
    p, q = (now + 0.5) / (now + 0.5).sum(), (before + 0.5) / (before + 0.5).sum()
    return float(((p - q) * np.log(p / q)).sum())


def homogeneity(now: np.ndarray, before: np.ndarray) -> tuple[float, float]:
    found = stats.chi2_contingency(np.array([now, before]), correction=False)
    return found.statistic, found.pvalue


def assert_same(ours: Comparison, expected: Comparison) -> None:
    for name in Comparison.__slots__:
        ours_value, theirs = getattr(ours, name), getattr(expected, name)
        if isinstance(theirs, float):
            assert ours_value == pytest.approx(theirs, rel=1e-9, abs=1e-300, nan_ok=True), name
        else:
            assert (type(ours_value), ours_value) == (type(theirs), theirs), name


@pytest.mark.parametrize("grouped", [False, True])
def test_every_field_of_a_numeric_comparison(grouped: bool) -> None:
    """Twenty values, of which the upper ones became frequent, and some rows without a value on both sides."""
    before = np.repeat(np.append(np.arange(20.0), np.nan), 50)
    counts = np.append(np.full(10, 8), np.full(10, 12))
    now = np.append(np.repeat(np.arange(20.0), counts), np.full(100, np.nan))
    effect = 2.0 if grouped else 1.0
    reference = column(before, "numeric", pairs(before) if grouped else None)
    ours = compare("speed", reference, now, Groups.from_keys(pairs(now)) if grouped else None)
    distance = stats.ks_2samp(before[:1000], now[:200], method="asymp").statistic
    root = np.sqrt(200 / effect * 1000 / effect / (1200 / effect))
    assert_same(
        ours,
        Comparison(
            "speed",
            "numeric",
            "ks",
            200,
            200 / effect,
            distance,
            float(stats.kstwobign.sf((root + 0.12 + 0.11 / root) * distance)),
            distance,
            # Deciles of the reference are pairs of values.
            psi(np.append(counts.reshape(10, 2).sum(axis=1)[:9], 24), np.full(10, 100)),
            50 / 1050,
            100 / 300,
            homogeneity(np.array([100, 200]) / effect, np.array([50, 1000]) / effect)[1],
            "mean 9.5 → 10.5",
            1 / before[~np.isnan(before)].std(),
        ),
    )


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        ({1: 400, 2: 300, 3: 300, UNKNOWN: 100}, {1: 40, 2: 30, 3: 90, UNKNOWN: 80}, "3: 30.0% → 56.2%"),
        ({1: 500, 2: 500}, {1: 60, 2: 60, 7: 80, 8: 60, 9: 180, UNKNOWN: 20}, "9: 0.0% → 40.9%"),
        ({1: 500, 2: 500, 3: 100}, {1: 60, 2: 40, UNKNOWN: 20}, "1: 45.5% → 60.0%"),
    ],
    ids=["known values", "new values", "a value that is gone"],
)
def test_every_field_of_a_categorical_comparison(
    before: dict[int, int], now: dict[int, int], change: str, grouped: bool
) -> None:
    """Counts against scipy's contingency test, new values in cells of their own, unknown ones apart."""
    effect = 2.0 if grouped else 1.0
    before_rows, now_rows = (np.repeat(list(part), list(part.values())) for part in (before, now))
    reference = column(before_rows, "categorical", pairs(before_rows) if grouped else None)
    ours = compare("light", reference, now_rows, Groups.from_keys(pairs(now_rows)) if grouped else None)
    names = sorted((set(before) | set(now)) - {UNKNOWN})
    cells, old = (np.array([float(part.get(name, 0)) for name in names]) for part in (now, before))
    missing, old_missing = now.get(UNKNOWN, 0), before.get(UNKNOWN, 0)
    statistic, p_value = homogeneity(cells / effect, old / effect)
    missing_p = homogeneity(np.array([missing, cells.sum()]) / effect, np.array([old_missing, old.sum()]) / effect)[1]
    assert_same(
        ours,
        Comparison(
            "light",
            "categorical",
            "chi2",
            int(cells.sum()),
            cells.sum() / effect,
            statistic,
            p_value,
            0.5 * float(np.abs(cells / cells.sum() - old / old.sum()).sum()),
            psi(cells, old),
            old_missing / len(before_rows),
            missing / len(now_rows),
            missing_p,
            change,
        ),
    )


def test_values_beyond_the_listed_ones_are_compared_as_other_categories() -> None:
    """A reference of 300 communes lists 256: the others, and those that it never had, share one cell."""
    before = np.repeat(np.arange(300), 10)
    now = np.append(np.repeat(np.arange(300), 2), np.repeat(np.arange(1000, 1100), 6))
    ours = compare("commune", column(before, "categorical"), now)
    cells, old = np.append(np.full(256, 2.0), 44 * 2.0 + 600), np.append(np.full(256, 10.0), 440.0)
    assert ours.change == "other categories: 14.7% → 57.3%"
    assert ours.psi == pytest.approx(psi(cells, old))
    assert ours.distance == pytest.approx(0.5 * np.abs(cells / 1200 - old / 3000).sum())


@pytest.mark.parametrize(
    ("kind", "test", "before", "now"),
    [
        ("numeric", "ks", [1, 2, UNKNOWN, 4], [UNKNOWN] * 4),
        ("numeric", "ks", [UNKNOWN] * 4, [1, 2, UNKNOWN, 4]),
        ("categorical", "chi2", [1, 2, UNKNOWN, 4], [UNKNOWN] * 4),
        ("categorical", "chi2", [UNKNOWN] * 4, [1, 2, UNKNOWN, 4]),
    ],
)
def test_a_side_without_known_values_is_not_tested(kind: Kind, test: str, before: list, now: list) -> None:
    """No statistic, no p-value; the share of unknown values is compared all the same."""
    nan = float("nan")
    unknown = [part.count(UNKNOWN) for part in (before, now)]
    p_value = chi_square(np.array([unknown[1], 4 - unknown[1]]), np.array([unknown[0], 4 - unknown[0]]))[1]
    expected = Comparison(
        "x", kind, test, 0, 0.0, nan, nan, nan, nan, unknown[0] / 4, unknown[1] / 4, p_value, "no known value"
    )
    assert_same(compare("x", column(np.array(before), kind), np.array(now)), expected)


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_one_known_row_is_a_sample(kind: Kind) -> None:
    """One row on either side has a distance; its p-value, not a rule, shows how little that is."""
    one, many = np.array([3]), np.array([3, 4, 4, 4])
    assert compare("x", column(many, kind), one).distance == 0.75
    assert compare("x", column(one, kind), many).distance == 0.75
    assert compare("x", column(one, kind), many).missing_p_value == 1.0


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_a_window_without_rows_is_unknown_throughout(kind: Kind) -> None:
    """No row: all is unknown, and that proves nothing."""
    ours = compare("x", column(np.array([3, 4, UNKNOWN, 4]), kind), np.zeros(0, dtype=np.int64))
    assert (ours.missing_reference, ours.missing_current, ours.missing_p_value) == (0.25, 1.0, 1.0)
    assert ours.rows == 0


def test_rare_categories_are_pooled_below_five_expected() -> None:
    """An expected count of five itself is enough; what is below it is one category together, also where it is alone."""
    exact = np.array([7.0, 3.0, 10.0]), np.array([3.0, 7.0, 10.0])
    assert chi_square(*exact) == pytest.approx(homogeneity(*exact))
    rare = np.array([6.0, 3.0, 31.0, 30.0]), np.array([2.0, 6.0, 32.0, 30.0])
    merged = np.array([31.0, 30.0, 9.0]), np.array([32.0, 30.0, 8.0])
    assert chi_square(*rare) == pytest.approx(homogeneity(*merged))
    fraction = np.array([20.0, 0.0]), np.array([20.0, 0.5])
    assert chi_square(*fraction) == pytest.approx(homogeneity(*fraction))


def test_stability_index_adds_half_a_row_to_each_cell_that_has_rows() -> None:
    """A cell that is empty on both sides is no cell; one row on one side makes one."""
    now, before = np.array([7.0, 0.0, 1.0, 0.0]), np.array([3.0, 0.0, 0.0, 9.0])
    used = [0, 2, 3]
    assert population_stability_index(now, before) == pytest.approx(psi(now[used], before[used]))


def test_kolmogorov_p_value_has_stephens_correction() -> None:
    """λ = (√N + 0.12 + 0.11/√N) D with N = nm/(n + m); small samples are where the terms count (Stephens 1970)."""
    root = np.sqrt(4 * 12 / 16)
    expected = stats.kstwobign.sf((root + 0.12 + 0.11 / root) * 0.5)
    assert kolmogorov_p_value(0.5, 4, 12) == pytest.approx(expected)


def test_one_tested_value_is_its_own_adjusted_value() -> None:
    """A single test needs no adjustment; none at all stay NaN."""
    np.testing.assert_array_equal(benjamini_hochberg(np.array([np.nan, 0.25])), [np.nan, 0.25])
    np.testing.assert_array_equal(benjamini_hochberg(np.array([np.nan, np.nan])), [np.nan, np.nan])
