"""Conformal bounds by group from out-of-fold probabilities: which groups there are, and their bounds."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.scoring.group_bounds import EVERYBODY, GroupBounds, describe_group
from accident_reco.models.accidents.scoring.scorer import DecisionRule
from accident_reco.models.accidents.scoring.user_groups import (
    KINDS_OF_USER,
    SURROUNDINGS,
    classify_surroundings,
    classify_users,
)
from accident_reco.models.accidents.training.calibration import compute_conformal_bounds
from accident_reco.models.accidents.training.training_rows import Columns

REGIONS: Final = 6
# Rows of each class from which on cells have bounds of their own.
MIN_ROWS: Final = 100
Cell = tuple[int, int, int]
"""Surroundings, kind of user, region."""
# Rows of the mean that are added to those of a department.
_SMOOTHING: Final = 50


def fit_group_bounds(
    rule: DecisionRule, margin: NDArray[np.floating], y: NDArray[np.integer], columns: Columns
) -> GroupBounds:
    """Groups and bounds from out-of-fold margins, shape (n,), of real training rows with raw columns.

    Bounds are set one standard error of the coverage wider than its value: those of a few hundred rows are estimates.
    """
    p = rule.probability(margin)
    regions = _find_regions(columns["dep"], y)
    region = np.array([regions.get(code, -1) for code in columns["dep"].tolist()], dtype=np.int64)
    place, kind = classify_surroundings(columns), classify_users(columns)
    shape = (len(SURROUNDINGS), len(KINDS_OF_USER), REGIONS)
    known = (place >= 0) & (kind >= 0) & (region >= 0)
    cell = np.ravel_multi_index((place[known], kind[known], region[known]), shape)
    size = np.stack([np.bincount(cell[y[known] == value], minlength=np.prod(shape)) for value in (0, 1)], axis=1)
    groups = merge_cells(size.reshape(*shape, 2))
    cells = np.full(shape, EVERYBODY)
    names, low, high = ["everybody"], [rule.uncertain_from], [rule.uncertain_to]
    for number, group in enumerate(groups, 1):
        chosen = np.zeros(len(p), dtype=bool)
        for position in group:
            cells[position] = number
            chosen |= (place == position[0]) & (kind == position[1]) & (region == position[2])
        bounds = compute_conformal_bounds(p[chosen], y[chosen], rule.coverage, margin=1.0)
        low.append(bounds[0])
        high.append(bounds[1])
        names.append(describe_group(*(sorted(set(part)) for part in zip(*group, strict=True))))
    return GroupBounds(regions, cells.tolist(), names, low, high)


def merge_cells(size: NDArray[np.integer]) -> list[list[Cell]]:
    """Groups of cells with at least `MIN_ROWS` rows of each class, or none for cells that are too small together.

    Kinds of user of the same surroundings and region are merged, the smallest first; where all of them together are too
    small, regions next to each other are merged before. Regions stay apart as long as possible: what is recorded as
    severe differs most between them.

    Args:
        size: rows by surroundings, kind of user, region and class, shape (places, kinds, regions, 2).
    """
    places, _, regions, _ = size.shape
    groups: list[list[Cell]] = []
    for place in range(places):
        of_region = size[place].sum(axis=0)
        for some_regions in _accumulate(list(range(regions)), of_region):
            of_kind = size[place][:, some_regions].sum(axis=1)
            by_size = np.argsort(of_kind.min(axis=1), kind="stable").tolist()
            groups.extend(
                [(place, kind, region) for kind in sorted(some_kinds) for region in some_regions]
                for some_kinds in _accumulate(by_size, of_kind)
            )
    return groups


def _accumulate(items: list[int], rows: NDArray[np.integer]) -> list[list[int]]:
    """Items in runs of at least `MIN_ROWS` rows of each class, a last smaller run joined to the one before.

    No run where all items together are smaller; `rows` has the rows of each item by class, shape (items, 2).
    """
    runs: list[list[int]] = [[]]
    for item in items:
        runs[-1].append(item)
        if rows[runs[-1]].sum(axis=0).min() >= MIN_ROWS:
            runs.append([])
    rest = runs.pop()
    if runs:
        runs[-1] += rest
    return runs


def _find_regions(departments: NDArray[np.object_], y: NDArray[np.integer]) -> dict[str, int]:
    """Department → region: departments in the order of their smoothed severity rate, cut into equal numbers of rows."""
    texts = np.array([code or "" for code in departments.tolist()], dtype=str)
    names, place = np.unique(texts, return_inverse=True)
    rows, severe = np.bincount(place), np.bincount(place, y)
    rate = (severe + _SMOOTHING * y.mean()) / (rows + _SMOOTHING)
    order = np.argsort(rate, kind="stable")
    before = np.cumsum(rows[order]) - rows[order] / 2
    region = np.minimum(before * REGIONS // max(rows.sum(), 1), REGIONS - 1).astype(int)
    return {name: number for name, number in zip(names[order].tolist(), region.tolist(), strict=True) if name}
