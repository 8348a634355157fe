"""Distributions of a column in reference and window, small enough to keep with a report and to draw. Pure; numpy only.

Verdicts are of all rows and all values (`statistics`); these are summaries of them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from accident_reco.lifecycle.columns import categories, category_counts, numeric
from accident_reco.lifecycle.reference import CategoricalColumn, Column, NumericColumn

MAX_BINS: Final = 12
MAX_CATEGORIES: Final = 10
MAX_CHARACTERS: Final = 60
"""Longest category that is kept; texts come from clients."""
_TAIL: Final = 0.01


def describe_distribution(reference: Column, values: np.ndarray) -> dict[str, Any] | None:
    """Shares of the known rows in reference and window; None where either has none.

    Args:
        values: the window's column, shape (n,), missing values as in `lifecycle.columns`.

    Returns:
        `reference` and `window`: shares, each summing to 1; with `edges` for numbers (one more than shares; values
        beyond the outer edges count in the outer bins), or with `values` for categories, null for all others.
    """
    if isinstance(reference, NumericColumn):
        return _describe_numbers(reference, numeric(values))
    return _describe_categories(reference, categories(values))


def _describe_numbers(reference: NumericColumn, values: np.ndarray) -> dict[str, Any] | None:
    known = values[~np.isnan(values)]
    rows = reference.count - reference.missing
    if not len(known) or not rows:
        return None
    edges = _choose_edges(reference, rows)
    inner = edges[1:-1]
    place = np.searchsorted(reference.grid, inner, side="left") - 1  # the largest grid value below each inner edge
    below = np.where(place < 0, 0, reference.at_or_below[np.maximum(place, 0)])
    counts = np.diff(np.concatenate(([0], below, [rows])))
    window = np.bincount(np.searchsorted(inner, known, side="right"), minlength=len(edges) - 1)
    return {"edges": [float(f"{edge:.6g}") for edge in edges.tolist()], **_share(counts, window)}


def _choose_edges(reference: NumericColumn, rows: int) -> np.ndarray:
    """Equal bins over all but the outer per cent of the reference; whole numbers apart where there are few of them."""
    grid = reference.grid
    places = np.searchsorted(reference.at_or_below, [_TAIL * rows, (1 - _TAIL) * rows])
    low, high = grid[np.minimum(places, len(grid) - 1)]
    is_whole = bool((grid == np.floor(grid)).all())
    if is_whole and high - low < MAX_BINS:
        return np.arange(low, high + 2) - 0.5
    if high <= low:
        return np.array([low - 0.5, low + 0.5])
    return np.linspace(low, high, MAX_BINS + 1)


def _describe_categories(reference: CategoricalColumn, values: np.ndarray) -> dict[str, Any] | None:
    rows = reference.count - reference.missing
    window, missing = category_counts(values)
    known = len(values) - missing
    if not known or not rows:
        return None
    before = dict(zip(reference.values, reference.counts.tolist(), strict=True))
    share = {value: max(before.get(value, 0) / rows, window[value] / known) for value in before | dict(window)}
    kept = sorted(share, key=lambda value: (-share[value], str(value)))[:MAX_CATEGORIES]
    shares = [
        np.array([counted.get(value, 0) for value in kept] + [total - sum(counted.get(value, 0) for value in kept)])
        for counted, total in ((before, rows), (window, known))
    ]
    names: list[Any] = [value[:MAX_CHARACTERS] if isinstance(value, str) else int(value) for value in kept]
    if shares[0][-1] == 0 and shares[1][-1] == 0:
        return {"values": names, **_share(shares[0][:-1], shares[1][:-1])}
    return {"values": [*names, None], **_share(*shares)}


def _share(reference: np.ndarray, window: np.ndarray) -> dict[str, list[float]]:
    return {
        "reference": (reference / reference.sum()).round(5).tolist(),
        "window": (window / window.sum()).round(5).tolist(),
    }
