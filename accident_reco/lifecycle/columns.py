"""Columns for statistics: one rule for missing values, categories as codes, design effects of grouped samples.

Used to build reference profiles and to compare windows with them, so that both read a column the same way. Plain numpy.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

UNKNOWN_CODE = -1
MAX_TABLE = 2**16
"""Codes within a range of this size are looked up in a table."""
PROBE_ROWS = 20_000
PROBE_GROUPS = 2_000
"""Size of the sample of whole groups that design effects are estimated on; more would not change them."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows by the group they belong to: `index[i]` in 0 … `number` - 1."""

    index: np.ndarray
    number: int
    largest_design_effect: float
    """Design effect if all rows of a group are equal (Kish): mean group size weighted by size; at least 1."""

    @classmethod
    def from_keys(cls, keys: np.ndarray | None) -> Groups | None:
        """Groups by distinct keys (any sortable dtype); None for None: rows are independent."""
        if keys is None:
            return None
        distinct, index = np.unique(np.asarray(keys), return_inverse=True)
        return cls.from_index(index.astype(np.int64, copy=False).reshape(-1), len(distinct))

    @classmethod
    def from_index(cls, index: np.ndarray, number: int) -> Groups:
        """Groups from indices in 0 … `number` - 1; indices without rows are allowed."""
        sizes = np.bincount(index, minlength=number).astype(np.float64)
        return cls(index, number, max(_squares(sizes) / max(float(sizes.sum()), 1.0), 1.0))

    def where(self, mask: np.ndarray) -> Groups:
        """The groups of the rows selected by a boolean `mask`."""
        return self if mask.all() else Groups.from_index(self.index[mask], self.number)

    def probe(self) -> Probe:
        """A sample of whole groups (every k-th), for estimates of design effects."""
        step = min(-(-len(self.index) // PROBE_ROWS), max(self.number // PROBE_GROUPS, 1))
        if step <= 1:
            return slice(None), self
        rows = np.flatnonzero(self.index % step == 0)
        return rows, Groups.from_index(self.index[rows] // step, -(-self.number // step))


Probe = tuple[np.ndarray | slice, Groups]
"""Indices of rows of whole groups, and the groups of those rows."""


def numeric(values: np.ndarray) -> np.ndarray:
    """Numbers as float64, NaN where missing: -1 in integers, infinities, None and ""."""
    if values.dtype.kind in "iu":
        floats = values.astype(np.float64)
        floats[values == UNKNOWN_CODE] = np.nan
        return floats
    if values.dtype == object:
        values = np.array([np.nan if value is None or value == "" else value for value in values], dtype=np.float64)
    floats = np.array(values, dtype=np.float64)
    floats[~np.isfinite(floats)] = np.nan
    return floats


def categories(values: np.ndarray) -> np.ndarray:
    """Integer codes as int64, -1 where missing, or texts as an object array, None where missing."""
    if values.dtype.kind in "iub":
        return values.astype(np.int64, copy=False)
    if values.dtype.kind == "f":
        known = np.isfinite(values)
        return np.where(known, np.where(known, values, 0), UNKNOWN_CODE).astype(np.int64)
    plain = values.tolist()
    if all(value is None or (isinstance(value, (int, np.integer)) and value is not True) for value in plain):
        return np.array([UNKNOWN_CODE if value is None else value for value in plain], dtype=np.int64)
    texts = np.empty(len(plain), dtype=object)
    texts[:] = [None if value is None or value != value or value == "" else str(value) for value in plain]
    return texts


def category_counts(values: np.ndarray) -> tuple[Counter[Any], int]:
    """Count of each category in the result of `categories`, and number of rows with a missing value."""
    if values.dtype == object:
        counts: Counter[Any] = Counter(values.tolist())
        unknown = counts.pop(None, 0)
    else:
        distinct, numbers = np.unique(values, return_counts=True)
        counts = Counter(dict(zip(distinct.tolist(), numbers.tolist(), strict=True)))
        unknown = counts.pop(UNKNOWN_CODE, 0)
    return counts, unknown


def code_rows(values: np.ndarray, known: tuple[Any, ...]) -> np.ndarray:
    """Each row's position in `known`; len(known) for any other category, len(known) + 1 where missing."""
    other, unknown = len(known), len(known) + 1
    texts_known = any(isinstance(value, str) for value in known)
    if values.dtype != object and not texts_known:
        codes = _find_positions(values, np.asarray(known, dtype=np.int64))
        codes[values == UNKNOWN_CODE] = unknown
        return codes
    # Texts on one side only ("75" and 75) are compared as texts.
    positions: dict[Any, int] = {str(value): position for position, value in enumerate(known)}
    if values.dtype == object:
        positions[None] = unknown
        return np.fromiter((positions.get(value, other) for value in values.tolist()), np.int64, len(values))
    codes = np.fromiter((positions.get(str(value), other) for value in values.tolist()), np.int64, len(values))
    codes[values == UNKNOWN_CODE] = unknown
    return codes


def _find_positions(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Position in `known` of every value, shape (n,); len(known) where it is none of them."""
    other = len(known)
    if other == 0:
        return np.full(len(values), other, dtype=np.int64)
    low = int(known.min())
    span = int(known.max()) - low + 1
    if span <= MAX_TABLE:
        # One entry below and one above the known codes, for all others.
        table = np.full(span + 2, other, dtype=np.int64)
        table[known - low + 1] = np.arange(other)
        return table.take(np.clip(values, low - 1, low + span) - (low - 1))
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known[order], values), other - 1)
    return np.where(known[order][place] == values, order[place], other)


def numeric_design_effect(values: np.ndarray, grid: np.ndarray, probe: Probe | None) -> float:
    """Design effect of the mean rank of `values` (NaN where missing) on `grid`; between 1 and Kish's effect.

    Variance of the mean rank under grouping over its variance for independent rows: the cluster-robust (linearised)
    variance of survey means, the sum over groups of squared sums of deviations over the sum of squared deviations.
    """
    if probe is None:
        return 1.0
    rows, groups = probe
    values = values[rows]
    known = ~np.isnan(values)
    if known.sum() < 2:
        return groups.largest_design_effect
    groups = groups.where(known)
    ranks = np.searchsorted(grid, values[known], side="left").astype(np.float64)
    deviations = ranks - ranks.mean()
    total = _squares(deviations)
    if total <= 0.0:
        return groups.largest_design_effect
    sums = np.bincount(groups.index, weights=deviations, minlength=groups.number)
    return min(max(_squares(sums) / total, 1.0), groups.largest_design_effect)


def categorical_design_effect(codes: np.ndarray, size: int, probe: Probe | None) -> float:
    """Mean generalised design effect over categories, for codes in 0 … size - 1 (others are missing).

    Rao and Scott 1981, first order; between 1 and Kish's effect.
    """
    if probe is None:
        return 1.0
    rows_of, groups = probe
    codes = codes[rows_of]
    known = codes < size
    rows = int(known.sum())
    if rows < 2:
        return groups.largest_design_effect
    groups, codes = groups.where(known), codes[known]
    shares = np.bincount(codes, minlength=size) / rows
    # Per category k: sum over groups of (n_gk - n_g p_k)^2 = sum n_gk^2 - 2 p_k sum n_g n_gk + p_k^2 sum n_g^2.
    sizes = np.bincount(groups.index, minlength=groups.number).astype(np.float64)
    cells, occupancy = np.unique(groups.index * size + codes, return_counts=True)
    numbers = occupancy.astype(np.float64)
    of_group, of_category = cells // size, cells % size
    squares = np.bincount(of_category, weights=numbers**2, minlength=size)
    cross = np.bincount(of_category, weights=numbers * sizes[of_group], minlength=size)
    between = squares - 2.0 * shares * cross + shares**2 * _squares(sizes)
    present = (shares > 0.0) & (shares < 1.0)
    if not present.any():
        return groups.largest_design_effect
    # deff_k = between_k / (n p_k (1 - p_k)); the mean weights each with (1 - p_k) and divides by K - 1.
    mean = float((between[present] / (rows * shares[present])).sum()) / max(int(present.sum()) - 1, 1)
    return min(max(mean, 1.0), groups.largest_design_effect)


def _squares(values: np.ndarray) -> float:
    """Sum of squares without BLAS, whose threads cost more than the sum and add in no fixed order."""
    return float(np.square(values).sum())
