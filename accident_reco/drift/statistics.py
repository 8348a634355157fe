"""Two-sample tests of a window's column against the reference, with effect sizes.

Numeric columns: Kolmogorov-Smirnov; categorical columns: chi-square. Both compare the known values; the missing rate is
compared separately, because its change calls for a repair of the data source, not for a new model. Rows of one group
are dependent: p-values are computed for the effective number of rows. Pure; numpy and scipy.special only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from accident_reco.lifecycle.columns import (
    Groups,
    categorical_design_effect,
    categories,
    code_rows,
    numeric,
    numeric_design_effect,
)
from accident_reco.lifecycle.reference import CategoricalColumn, Column, NumericColumn

BUCKETS = 2**16
PSI_BINS = 10
MIN_EXPECTED_COUNT = 5.0
"""Categories with a smaller expected count are pooled: below it the chi-square approximation fails (Cochran 1954)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One column of the window against the reference. Shares and distances are in [0, 1]; PSI is not bounded."""

    name: str
    kind: Literal["numeric", "categorical"]
    test: Literal["ks", "chi2"]
    rows: int
    """Rows of the window whose value is known."""
    effective_rows: float
    """Number of independent rows with the same variance."""
    statistic: float
    p_value: float
    distance: float
    """KS distance or total variation: the largest difference in probability between the two, for any cut or any set."""
    psi: float
    missing_reference: float
    missing_current: float
    missing_p_value: float
    change: str
    """The change in words."""
    shift: float = float("nan")
    """Difference of the means in standard deviations of the reference (Glass's delta); NaN for categories."""

    @property
    def missing_change(self) -> float:
        """Absolute change of the missing rate."""
        return abs(self.missing_current - self.missing_reference)


def compare(name: str, reference: Column, values: np.ndarray, groups: Groups | None = None) -> Comparison:
    """Compare the window's `values` (shape (n,), missing values as in `columns`) with the reference's column."""
    if isinstance(reference, NumericColumn):
        return _compare_numeric(name, reference, numeric(values), groups)
    return _compare_categorical(name, reference, categories(values), groups)


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """Adjusted p-values (step-up, Benjamini and Hochberg 1995); NaN stays NaN and is not counted."""
    adjusted = np.full(len(p_values), np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    if len(tested) == 0:
        return adjusted
    order = tested[np.argsort(p_values[tested], kind="stable")]
    scaled = p_values[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def _compare_numeric(name: str, reference: NumericColumn, values: np.ndarray, groups: Groups | None) -> Comparison:
    known = ~np.isnan(values)
    present = values if known.all() else values[known]
    rows, reference_rows = len(present), reference.count - reference.missing
    missing = _missing(reference.missing, reference.count, len(values) - rows, len(values), groups)
    if rows == 0 or reference_rows == 0:
        return _untested(name, "numeric", missing)
    grid = reference.grid
    at_or_below, below = count_below(present, grid)
    right = at_or_below / rows - reference.at_or_below / reference_rows
    left = below / rows - (reference.at_or_below - reference.at) / reference_rows
    distance = float(max(np.abs(right).max(), np.abs(left).max()))
    effect = numeric_design_effect(values, grid, None if groups is None else groups.probe())
    effective = rows / effect
    return Comparison(
        name,
        "numeric",
        "ks",
        rows,
        effective,
        distance,
        kolmogorov_p_value(distance, effective, reference.effective_rows),
        distance,
        _numeric_psi(reference, at_or_below, rows),
        *missing,
        _numeric_change(reference, present),
        float(present.mean() - reference.mean) / reference.std if reference.std else float("nan"),
    )


def _compare_categorical(
    name: str, reference: CategoricalColumn, values: np.ndarray, groups: Groups | None
) -> Comparison:
    listed = len(reference.values)
    codes = code_rows(values, reference.values)
    known = codes <= listed
    rows, reference_rows = int(known.sum()), reference.count - reference.missing
    missing = _missing(reference.missing, reference.count, len(values) - rows, len(values), groups)
    if rows == 0 or reference_rows == 0:
        return _untested(name, "categorical", missing)
    labels: list[object] = [*reference.values, "other categories"]
    novel = codes == listed
    if reference.other == 0 and novel.any():
        # New values stay separate categories: one category for all of them would be significant by chance. Rare ones
        # are pooled by the counts of both samples, which favours neither.
        distinct, place = np.unique(values[novel], return_inverse=True)
        codes[novel] = listed + place.reshape(-1)
        labels[listed:] = distinct.tolist()
    size = len(labels)
    codes[~known] = size
    counts = np.bincount(codes, minlength=size + 1)[:size].astype(np.float64)
    reference_counts = np.zeros(size)
    reference_counts[:listed] = reference.counts
    reference_counts[listed] += reference.other
    effect = categorical_design_effect(codes, size, None if groups is None else groups.probe())
    effective = rows / effect
    statistic, p_value = chi_square(counts / effect, reference_counts * (reference.effective_rows / reference_rows))
    shares, reference_shares = counts / rows, reference_counts / reference_rows
    return Comparison(
        name,
        "categorical",
        "chi2",
        rows,
        effective,
        statistic,
        p_value,
        0.5 * float(np.abs(shares - reference_shares).sum()),
        population_stability_index(counts, reference_counts),
        *missing,
        _categorical_change(labels, shares, reference_shares),
    )


def count_below(values: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of values <= and of values < each point of a sorted grid, shape (points,) each; all of them finite.

    Values and points are put into equal buckets. Bucketing keeps the order, so only values that share a bucket with a
    point must be compared with it: a few per cent of the rows, where a look-up of every row would take ten times as
    long.
    """
    with np.errstate(over="ignore", divide="ignore"):
        scale = BUCKETS / (grid[-1] - grid[0])
        if 0.0 < scale < np.inf:
            bucket, of_point = (
                np.clip((numbers - grid[0]) * scale, -1.0, BUCKETS + 1.0).astype(np.intp) + 1
                for numbers in (values, grid)
            )
        else:  # a single point, or a range that floats cannot hold
            bucket, of_point = np.zeros(len(values), dtype=np.intp), np.zeros(len(grid), dtype=np.intp)
    sizes = np.bincount(bucket, minlength=BUCKETS + 3)
    is_shared = np.zeros(len(sizes), dtype=bool)
    is_shared[of_point] = True
    shared = np.sort(values[is_shared[bucket]])
    # Rows of all earlier buckets that hold no point, and the rank among the other rows.
    apart = np.cumsum(np.where(is_shared, 0, sizes))[of_point]
    return apart + np.searchsorted(shared, grid, side="right"), apart + np.searchsorted(shared, grid, side="left")


def kolmogorov_p_value(distance: float, rows: float, reference_rows: float) -> float:
    """Two-sided asymptotic p-value with Stephens' correction for small samples; conservative where values repeat."""
    from scipy.special import kolmogorov

    root = math.sqrt(rows * reference_rows / (rows + reference_rows))
    return float(kolmogorov((root + 0.12 + 0.11 / root) * distance))


def chi_square(counts: np.ndarray, reference_counts: np.ndarray) -> tuple[float, float]:
    """Statistic and p-value of homogeneity of two samples; rare categories are pooled, one category left gives p = 1.

    Counts may be fractions: divided by design effects, it is Rao and Scott's first-order corrected test.
    """
    from scipy.special import chdtrc

    total, reference_total = counts.sum(), reference_counts.sum()
    pooled = counts + reference_counts
    smallest_expected = pooled * min(total, reference_total) / (total + reference_total)
    rare = smallest_expected < MIN_EXPECTED_COUNT
    if rare.any():
        counts = np.append(counts[~rare], counts[rare].sum())
        reference_counts = np.append(reference_counts[~rare], reference_counts[rare].sum())
        pooled = counts + reference_counts
    present = pooled > 0
    if present.sum() < 2:
        return 0.0, 1.0
    counts, reference_counts, pooled = counts[present], reference_counts[present], pooled[present]
    ratio = math.sqrt(reference_total / total)
    statistic = float((((ratio * counts - reference_counts / ratio) ** 2) / pooled).sum())
    return statistic, float(chdtrc(len(pooled) - 1, statistic))


def population_stability_index(counts: np.ndarray, reference_counts: np.ndarray) -> float:
    """PSI = sum (p - q) ln(p / q); half a row is added to each bin, so that an empty one is not infinite."""
    present = (counts + reference_counts) > 0
    p = (counts[present] + 0.5) / (counts[present] + 0.5).sum()
    q = (reference_counts[present] + 0.5) / (reference_counts[present] + 0.5).sum()
    return float(((p - q) * np.log(p / q)).sum())


def _numeric_psi(reference: NumericColumn, at_or_below: np.ndarray, rows: int) -> float:
    """PSI over the reference's deciles, cut at values of the grid (fewer bins where values repeat)."""
    reference_rows = reference.count - reference.missing
    wanted = reference_rows * np.arange(1, PSI_BINS) / PSI_BINS
    cuts = np.unique(np.searchsorted(reference.at_or_below, wanted, side="left"))
    edges = np.concatenate(([0], at_or_below[cuts], [rows]))
    reference_edges = np.concatenate(([0], reference.at_or_below[cuts], [reference_rows]))
    return population_stability_index(np.diff(edges).astype(np.float64), np.diff(reference_edges).astype(np.float64))


def _missing(
    reference_missing: int, reference_count: int, missing: int, count: int, groups: Groups | None
) -> tuple[float, float, float]:
    """Missing rates of reference and window, and the p-value of their equality.

    Values are often missing in all rows of a group, so a group counts as one row.
    """
    share, reference_share = (missing / count if count else 1.0), reference_missing / reference_count
    if count == 0:
        return reference_share, share, 1.0
    effect = 1.0 if groups is None else groups.largest_design_effect
    _, p_value = chi_square(
        np.array([missing, count - missing]) / effect,
        np.array([reference_missing, reference_count - reference_missing]) / effect,
    )
    return reference_share, share, p_value


def _untested(name: str, kind: Literal["numeric", "categorical"], missing: tuple[float, float, float]) -> Comparison:
    test: Literal["ks", "chi2"] = "ks" if kind == "numeric" else "chi2"
    nan = float("nan")
    return Comparison(name, kind, test, 0, 0.0, nan, nan, nan, nan, *missing, "no known value")


def _numeric_change(reference: NumericColumn, present: np.ndarray) -> str:
    return f"mean {reference.mean:.4g} → {present.mean():.4g}"


def _categorical_change(labels: list[object], shares: np.ndarray, reference_shares: np.ndarray) -> str:
    most = int(np.abs(shares - reference_shares).argmax())
    return f"{labels[most]}: {reference_shares[most]:.1%} → {shares[most]:.1%}"
