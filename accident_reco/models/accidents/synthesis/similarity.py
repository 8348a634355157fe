"""How similar two tables are: column shapes and column pair trends, 0 to 1 (1: the same distribution).

Definitions and numbers are those of the quality report of SDMetrics 0.32 (DataCebo, https://docs.sdv.dev/sdmetrics):
Kolmogorov-Smirnov complement and total variation complement of single columns, correlation similarity and contingency
similarity of pairs. That package itself is not used: it requires one under the Business Source Licence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MIN_CORRELATION: Final = 0.5
"""Two numbers whose real correlation is not stronger have no trend that a synthetic table could miss."""
MIN_ASSOCIATION: Final = 0.3
"""The same for Cramér's V of two codes, or of a code and a binned number."""
BINS: Final = 10
DECIMALS: Final = 14
"""Numbers that differ only behind this place are equal: sums in another order, not another distribution."""


@dataclass(frozen=True)
class Similarity:
    """Scores by column, and by pair of columns whose relation is strong enough to be a trend."""

    shapes: dict[str, float]
    pairs: dict[tuple[str, str], float]

    @property
    def column_shapes(self) -> float:
        """Mean score of the columns; NaN without one."""
        return _mean(list(self.shapes.values()))

    @property
    def pair_trends(self) -> float:
        """Mean score of the pairs; NaN without one."""
        return _mean(list(self.pairs.values()))

    @property
    def quality(self) -> float:
        """Mean of both parts, or the one that is known."""
        return _mean([self.column_shapes, self.pair_trends])


def compare_tables(
    real: pd.DataFrame, synthetic: pd.DataFrame, codes: Sequence[str], numbers: Sequence[str]
) -> Similarity:
    """Similarity of the columns `codes` (categories) and `numbers` (float, NaN: missing) of two tables."""
    shapes = {name: tv_complement(real[name], synthetic[name]) for name in codes}
    shapes |= {name: ks_complement(real[name], synthetic[name]) for name in numbers}
    labels = {name: _Labels.of(real[name].to_numpy(), synthetic[name].to_numpy()) for name in codes}
    labels |= {name: _Labels.of(_bin(real[name]), _bin(synthetic[name])) for name in numbers}
    pairs = {}
    for one, other in combinations([*codes, *numbers], 2):
        if one in numbers:  # and so is the other, which comes later
            score = correlation_similarity(real[[one, other]], synthetic[[one, other]])
        else:
            score = contingency_similarity(*labels[one].count_with(labels[other]))
        if score is not None:
            pairs[one, other] = score
    return Similarity(shapes, pairs)


def ks_complement(real: pd.Series, synthetic: pd.Series) -> float:
    """1 - the two-sample Kolmogorov-Smirnov statistic of the known numbers; NaN if one side has none."""
    ours, theirs = (np.sort(np.round(column.dropna().to_numpy(np.float64), DECIMALS)) for column in (real, synthetic))
    if not len(ours) or not len(theirs):
        return float("nan")
    steps = np.concatenate([ours, theirs])
    below = (np.searchsorted(values, steps, side="right") / len(values) for values in (ours, theirs))
    return 1 - float(np.abs(np.subtract(*below)).max())


def tv_complement(real: pd.Series, synthetic: pd.Series) -> float:
    """1 - the total variation distance of two columns of codes; NaN if one side has none."""
    ours, theirs = (column.value_counts(normalize=True) for column in (real, synthetic))
    if ours.empty or theirs.empty:
        return float("nan")
    ours, theirs = ours.align(theirs, fill_value=0)
    return 1 - float(np.abs(ours.to_numpy() - theirs.to_numpy()).sum()) / 2


def correlation_similarity(real: pd.DataFrame, synthetic: pd.DataFrame) -> float | None:
    """1 - half the difference of two Pearson correlations; None if the real one is no trend, or one is undefined."""
    correlations = []
    for frame in (real, synthetic):
        known = frame.dropna()
        if len(known) < 2 or (known.nunique() == 1).any():
            return None
        correlations.append(float(np.corrcoef(known.to_numpy(np.float64), rowvar=False)[0, 1]))
    ours, theirs = correlations
    return 1 - abs(ours - theirs) / 2 if abs(ours) > MIN_CORRELATION else None


def contingency_similarity(real: NDArray[np.intp], synthetic: NDArray[np.intp]) -> float | None:
    """1 - the total variation distance of two tables of counts; None if the real one shows no association."""
    from scipy.stats.contingency import association

    if not real.sum() or not synthetic.sum():
        return None
    seen = real[real.sum(axis=1) > 0][:, real.sum(axis=0) > 0]
    if min(seen.shape) < 2 or association(seen, method="cramer") <= MIN_ASSOCIATION:
        return None
    return 1 - float(np.abs(real / real.sum() - synthetic / synthetic.sum()).sum()) / 2


@dataclass(frozen=True)
class _Labels:
    """A column of both tables as numbers from 0 to `n` - 1, the same for the same value; missing is one of them."""

    real: NDArray[np.intp]
    synthetic: NDArray[np.intp]
    n: int

    @classmethod
    def of(cls, real: NDArray[Any], synthetic: NDArray[Any]) -> _Labels:
        labels, values = pd.factorize(np.concatenate([real, synthetic]), use_na_sentinel=False)
        return cls(labels[: len(real)], labels[len(real) :], len(values))

    def count_with(self, other: _Labels) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """How often each pair of labels occurs in the real and in the synthetic table, shape (n, n of the other)."""
        shape = (self.n, other.n)
        both = ((self.real, other.real), (self.synthetic, other.synthetic))
        ours, theirs = (np.bincount(one * other.n + two, minlength=self.n * other.n) for one, two in both)
        return ours.reshape(shape), theirs.reshape(shape)


def _bin(column: pd.Series) -> NDArray[np.intp]:
    """Bins of equal width over the column's own range, from 1 on; one more for its maximum, and for what is missing."""
    return np.digitize(column, np.histogram_bin_edges(column.dropna(), BINS))


def _mean(values: list[float]) -> float:
    """Mean of the known values; NaN if none is known."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
