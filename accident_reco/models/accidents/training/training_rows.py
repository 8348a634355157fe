"""Rows that a model is trained on: label, splits by accident, random masking. No fitting here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.data.severity import is_severe
from accident_reco.models.accidents.features.builder import FeatureSpec

Columns = dict[str, NDArray[Any]]

# Salt of the validation share of the training accidents; the frozen holdout has its own.
VALIDATION_SALT: Final = 0x7A11_DA7E


def columns_of(frame: pd.DataFrame) -> Columns:
    """Column name → array, as the feature builder takes them."""
    return {str(name): frame[name].to_numpy() for name in frame.columns}


def take(columns: Mapping[str, NDArray[Any]], rows: NDArray[Any]) -> Columns:
    """Some rows (mask or positions) of every column."""
    return {name: values[rows] for name, values in columns.items()}


def severe_label(grav: NDArray[np.integer]) -> NDArray[np.int8]:
    """Label: 1 = killed or hospitalised, 0 = slightly injured or unharmed."""
    return is_severe(grav).astype(np.int8)


def in_validation(num_acc: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Training accidents set aside for calibration, thresholds and choices; never part of the holdout."""
    return in_holdout(num_acc, share=share, salt=VALIDATION_SALT) & ~in_holdout(num_acc)


def unknown_like(values: NDArray[Any]) -> Any:
    """What unknown is in a column of this dtype: -1, NaN or None."""
    if values.dtype.kind == "f":
        return np.nan
    return -1 if values.dtype.kind in "iu" else None


def mask_fields(
    columns: Mapping[str, NDArray[Any]],
    names: Sequence[str],
    share: float | NDArray[np.floating],
    generator: np.random.Generator,
) -> Columns:
    """A copy in which every field named is unknown with probability `share` (one for all rows or one per row).

    Each field of each row is drawn alone: a caller's gaps follow no pattern that we could foresee.
    """
    masked = dict(columns)
    for name in names:
        if name not in columns:
            continue
        values = columns[name].copy()
        values[generator.random(len(values)) < share] = unknown_like(values)
        masked[name] = values
    return masked


def masked_copy(columns: Mapping[str, NDArray[Any]], spec: FeatureSpec, most: float, seed: int) -> Columns:
    """Every row once more, each with its own share of unknown fields, uniform in 0 … `most`."""
    generator = np.random.default_rng(seed)
    rows = len(next(iter(columns.values())))
    return mask_fields(columns, spec.columns, generator.uniform(0, most, rows), generator)
