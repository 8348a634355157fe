"""Two-sample statistics: the numbers are the textbooks'."""

import numpy as np
import pytest
from scipy import stats

from accident_reco.drift.statistics import (
    benjamini_hochberg,
    chi_square,
    compare,
    count_below,
    population_stability_index,
)
from accident_reco.lifecycle.columns import code_rows
from accident_reco.lifecycle.reference import Kind, build_reference, read_reference


def reference(values: np.ndarray, kind: Kind, groups: np.ndarray | None = None):
    return read_reference(build_reference({"x": values}, {"x": kind}, groups)).columns["x"]


@pytest.mark.parametrize("shape", ["continuous", "codes", "ties"])
def test_ks_agrees_with_scipy(shape: str) -> None:
    """Against the two raw samples: the distance to within the grid, the p-value in the same order of magnitude."""
    rng = np.random.default_rng(1)
    draw = {
        "continuous": lambda shift: rng.normal(shift, 1, 5_000),
        "codes": lambda shift: rng.poisson(3 + shift, 5_000),
        "ties": lambda shift: np.where(rng.random(5_000) < 0.5, 0.0, rng.normal(shift, 1, 5_000)),
    }[shape]
    before, now = draw(0.0), draw(0.08)
    ours = compare("x", reference(before, "numeric"), now)
    theirs = stats.ks_2samp(before, now, method="asymp")
    assert theirs.statistic - 1 / 512 <= ours.distance <= theirs.statistic + 1e-12
    assert abs(np.log10(ours.p_value) - np.log10(theirs.pvalue)) < 1.0


@pytest.mark.parametrize(
    ("before", "now", "distance"),
    [([5.0], [4.0], 1.0), ([5.0], [6.0], 1.0), ([1.0, 5.0], [1.0, 4.0], 0.5), ([1.0, 5.0], [1.0, 5.0], 0.0)],
)
def test_ks_sees_mass_between_the_values_of_a_discrete_column(before, now, distance) -> None:
    """A speed limit that was always 50 and is now always 49 differs fully, on either side."""
    column = reference(np.repeat(before, 500), "numeric")
    assert compare("vma", column, np.repeat(now, 500)).distance == pytest.approx(distance)


def test_chi_square_agrees_with_scipy() -> None:
    """Without rare categories it is the contingency table's test, without Yates' correction."""
    before, now = np.array([400.0, 300.0, 300.0]), np.array([90.0, 60.0, 50.0])
    theirs = stats.chi2_contingency(np.array([before, now]), correction=False)
    statistic, p_value = chi_square(now, before)
    assert statistic == pytest.approx(theirs.statistic)
    assert p_value == pytest.approx(theirs.pvalue)
    assert chi_square(np.array([10.0, 0.0]), np.array([10.0, 0.0])) == (0.0, 1.0)


def test_total_variation_and_psi_by_hand() -> None:
    """TV is half the summed difference of shares; PSI of (.5,.5) to (.6,.4) is .0405."""
    column = reference(np.repeat([1, 2], 5_000), "categorical")
    ours = compare("catu", column, np.repeat([1, 2], [6_000, 4_000]))
    assert ours.distance == pytest.approx(0.1)
    assert ours.psi == pytest.approx(0.0405, abs=1e-3)
    assert ours.change.endswith("50.0% → 60.0%") or ours.change.endswith("50.0% → 40.0%")
    assert population_stability_index(np.array([10.0, 0.0]), np.array([5.0, 5.0])) < 10


def test_numeric_psi_uses_the_references_deciles() -> None:
    """A window on the reference's own distribution has nearly none; a shift of one sigma has the known 1.0."""
    rng = np.random.default_rng(2)
    column = reference(rng.normal(size=100_000), "numeric")
    assert compare("x", column, rng.normal(size=100_000)).psi < 0.001
    assert compare("x", column, rng.normal(1.0, size=100_000)).psi == pytest.approx(1.0, abs=0.1)


def test_a_new_category_is_named() -> None:
    """A value that training never saw shows as itself, not as 'other'."""
    column = reference(np.repeat([1, 2], 5_000), "categorical")
    ours = compare("catr", column, np.repeat([1, 2, 9], [400, 400, 200]))
    assert ours.change == "9: 0.0% → 20.0%"
    assert ours.p_value < 1e-50


def test_unknown_values_are_measured_apart() -> None:
    """Callers that leave a field out have not changed the traffic: the known values compare as before."""
    rng = np.random.default_rng(3)
    column = reference(rng.normal(size=10_000), "numeric")
    now = rng.normal(size=4_000)
    now[:3_000] = np.nan
    ours = compare("x", column, now)
    assert ours.rows == 1_000
    assert ours.distance < 0.06
    assert ours.missing_change == pytest.approx(0.75)
    assert ours.missing_p_value < 1e-50


def test_nothing_known_is_not_a_result() -> None:
    """A column that is unknown throughout has no distance, and says so."""
    column = reference(np.arange(1_000.0), "numeric")
    ours = compare("x", column, np.full(1_000, np.nan))
    assert np.isnan(ours.distance)
    assert ours.effective_rows == 0
    assert ours.change == "no known value"


def test_benjamini_hochberg_agrees_with_scipy() -> None:
    """Same adjusted values; a column that was not tested takes no part."""
    p_values = np.random.default_rng(4).random(50) ** 3
    np.testing.assert_allclose(benjamini_hochberg(p_values), stats.false_discovery_control(p_values))
    with_gap = benjamini_hochberg(np.append(p_values, np.nan))
    np.testing.assert_allclose(with_gap[:-1], stats.false_discovery_control(p_values))
    assert np.isnan(with_gap[-1])


_LARGEST = np.finfo(np.float64).max


@pytest.mark.parametrize(
    ("values", "grid"),
    [
        (np.random.default_rng(2).normal(size=3_000), np.linspace(-2, 2, 200)),
        (np.random.default_rng(3).integers(-5, 60, 3_000).astype(float), np.arange(0.0, 50.0)),
        (np.random.default_rng(4).exponential(1e-3, 3_000), np.geomspace(1e-9, 1e6, 400)),
        (np.array([1.0, 2.0, 2.0, 3.0]), np.array([2.0])),
        (np.array([0.1, 0.3, np.nextafter(0.3, 1), np.nextafter(0.3, 0)]), np.array([0.1, 0.3, 0.3 + 1e-16, 0.4])),
        (np.array([-_LARGEST, 0.0, _LARGEST, 1.0]), np.array([-_LARGEST, 1.0, _LARGEST])),
        (np.array([-_LARGEST, 0.0, 5e-324, _LARGEST]), np.array([0.0, 5e-324])),
        (np.array([]), np.array([0.0, 1.0])),
    ],
)
def test_counts_below_are_exact(values: np.ndarray, grid: np.ndarray) -> None:
    """However the values and the points are spread, also where floats overflow."""
    found = count_below(values, grid)
    expected = [(values[:, None] <= grid).sum(axis=0), (values[:, None] < grid).sum(axis=0)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("known", [(), (3,), (7, 3, 5), (5, 10**9, 3), (-2, 0, 7)])
def test_codes_are_found_near_and_far(known: tuple[int, ...]) -> None:
    """Codes close to each other are looked up in a table, others by search; both find the same."""
    values = np.array([-(10**12), -2, -1, 0, 3, 4, 5, 7, 8, 10**9, 10**12])
    expected = [
        len(known) + 1 if value == -1 else known.index(value) if value in known else len(known)
        for value in values.tolist()
    ]
    assert code_rows(values, known).tolist() == expected
