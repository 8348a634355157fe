"""Training rows: label, splits by accident, random masking. Fits nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.lifecycle.holdout import hash_keys
from accident_reco.models.accidents.data.severity import is_severe
from accident_reco.models.accidents.features.builder import FeatureSpec

Columns = dict[str, NDArray[Any]]

FOLDS: Final = 4
# Salt of the folds of the training accidents; the frozen holdout has its own.
_FOLD_SALT: Final = 0x7A11_DA7E


def extract_columns(frame: pd.DataFrame) -> Columns:
    """Column name → array of shape (n,), as the feature builder takes them."""
    return {str(name): frame[name].to_numpy() for name in frame.columns}


def take(columns: Mapping[str, NDArray[Any]], rows: NDArray[Any]) -> Columns:
    """Rows of every column, by mask or by positions."""
    return {name: values[rows] for name, values in columns.items()}


def severe_label(grav: NDArray[np.integer]) -> NDArray[np.int8]:
    """Label of each `grav` code, shape (n,): 1 = killed or hospitalised, 0 = slightly injured or unharmed."""
    return is_severe(grav).astype(np.int8)


def get_fold(num_acc: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fold of the accident of every row, 0 … `FOLDS` - 1, shape (n,), by the hash of its number."""
    return (hash_keys(num_acc, _FOLD_SALT) % np.uint64(FOLDS)).astype(np.int64)


def get_missing_value(values: NDArray[Any]) -> Any:
    """Marker of missing values in a column of this dtype: -1, NaN or None."""
    if values.dtype.kind == "f":
        return np.nan
    return -1 if values.dtype.kind in "iu" else None


def mask_fields(
    columns: Mapping[str, NDArray[Any]],
    names: Sequence[str],
    share: float | NDArray[np.floating],
    generator: np.random.Generator,
) -> Columns:
    """A copy in which every value of the named columns is missing with probability `share` (one, or one per row).

    Values are masked independently, since the pattern of missing values in requests is not known in advance.
    """
    masked = dict(columns)
    for name in names:
        if name not in columns:
            continue
        values = columns[name].copy()
        values[generator.random(len(values)) < share] = get_missing_value(values)
        masked[name] = values
    return masked


def mask_rows(columns: Mapping[str, NDArray[Any]], spec: FeatureSpec, max_fraction: float, seed: int) -> Columns:
    """A copy of all rows with simulated missing values; the fraction of each row is uniform in 0 … `max_fraction`."""
    generator = np.random.default_rng(seed)
    rows = len(next(iter(columns.values())))
    return mask_fields(columns, spec.columns, generator.uniform(0, max_fraction, rows), generator)
