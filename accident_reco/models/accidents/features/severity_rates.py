"""Severity rates as features: the share of severe injuries among training people with the same code or place.

Target encodings: they put codes in order of severity, so that one split separates what the code's numbers mix. Rates
are smoothed towards the mean. A code has thousands of training rows, so a row's own label hardly counts; a place may
have one, so training rows get the rate of the other folds of accidents, as any other row would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.lifecycle.holdout import hash_keys

# Features that are codes and have a rate, if the feature set has them.
RATED_CODES: Final[tuple[str, ...]] = (
    *("catv", "place", "col", "catr", "trajet", "motor", "other_kind", "infra", "situ", "surf", "atm", "lum", "int"),
    *("plan", "prof", "circ", "vosp", "locp", "actp", "etatp", "kind", "opponent", "weekday", "mois"),
)
RATED_PLACES: Final = ("com", "dep")
# Rows of the mean that are added to those of a code or a place.
CODE_SMOOTHING: Final = 100
PLACE_SMOOTHING: Final = 20
FOLDS: Final = 10
_SALT: Final = 0x0FF_01D
MAX_RATED_CODE: Final = 126
_MISSING: Final = MAX_RATED_CODE + 1
_DIGITS: Final = 6

RATE_FEATURES: Final = tuple(f"{name}_rate" for name in (*RATED_CODES, *RATED_PLACES))
SOURCE_OF_RATE: Final = {f"{name}_rate": name for name in (*RATED_CODES, *RATED_PLACES)}


@dataclass(frozen=True)
class SeverityRates:
    """Rates of training rows.

    Args:
        mean: share of severe injuries; the rate of a place without training rows.
        codes: name of a code feature → code as text → rate.
        places: `com` or `dep` → its code → rate.
        by_fold: the same as `places` for each fold, of the rows of the other folds; not stored.
    """

    mean: float = 0.0
    codes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    places: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    by_fold: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)

    @classmethod
    def learn(
        cls,
        features: Mapping[str, NDArray[np.float32]],
        columns: Mapping[str, NDArray[Any]],
        label: NDArray[np.integer],
    ) -> SeverityRates:
        """Rates of training rows.

        Args:
            features: `RATED_CODES` by name, shape (n,) each, NaN = missing.
            columns: raw columns with `Num_Acc`.
            label: 1 = severe, shape (n,).
        """
        severe = label.astype(np.float64)
        mean = float(np.round(severe.mean(), _DIGITS))
        codes = {}
        for name, values in features.items():
            known = np.isfinite(values)
            found, place = np.unique(values[known].astype(np.int64), return_inverse=True)
            rates = _smooth(np.bincount(place, severe[known]), np.bincount(place), mean, CODE_SMOOTHING)
            codes[name] = dict(zip(map(str, found.tolist()), rates, strict=True))
        fold = assign_folds(columns["Num_Acc"])
        places: dict[str, dict[str, float]] = {}
        by_fold: dict[str, list[dict[str, float]]] = {}
        for name in RATED_PLACES:
            if name in columns:
                places[name], by_fold[name] = _learn_place(columns[name], severe, fold, mean)
        return cls(mean, codes, places, by_fold)

    def to_document(self) -> dict[str, Any]:
        """The part of `features.json`; empty without rates."""
        return {"rates": {"mean": self.mean, "codes": self.codes, "places": self.places}} if self.codes else {}

    @classmethod
    def from_document(cls, raw: Mapping[str, Any]) -> SeverityRates:
        """Rates of a parsed `features.json`; none in one of older code."""
        return cls(**raw["rates"]) if "rates" in raw else cls()

    def of_codes(self, name: str, values: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float32]:
        """Rate of each value of one of `RATED_CODES`, shape (n,); NaN for missing ones and without rates."""
        table = np.full(_MISSING + 1, np.nan, dtype=np.float32)
        for code, rate in self.codes.get(name, {}).items():
            if int(code) < _MISSING:
                table[int(code)] = rate
        # The smaller of NaN and the last slot is the last slot, which is for missing, as is -1.
        return table[np.fmin(values, _MISSING).astype(np.int64)]

    def of_places(self, columns: Mapping[str, NDArray[Any]], n: int, training_rows: bool) -> NDArray[np.float32]:
        """Rates of `RATED_PLACES` of every row, shape (2, n); NaN = missing.

        Args:
            columns: raw columns, each of shape (n,).
            training_rows: the rates were learnt from these rows; places then have the rate of the other folds.

        Raises:
            ValueError: the rates were read from a file, and these are training rows.
        """
        out = np.full((len(RATED_PLACES), n), np.nan, dtype=np.float32)
        if not self.codes:
            return out
        if training_rows and not self.by_fold:
            raise ValueError("rates of other folds are only in memory; a stored spec builds no training rows")
        for row, name in enumerate(RATED_PLACES):
            if name not in columns or name not in self.places:
                continue
            values = columns[name].tolist()
            if training_rows:
                tables, fold = self.by_fold[name], assign_folds(columns["Num_Acc"]).tolist()
                out[row] = [
                    tables[k].get(value, self.mean) if value else np.nan for value, k in zip(values, fold, strict=True)
                ]
            else:
                rates = self.places[name]
                out[row] = [rates.get(value, self.mean) if value else np.nan for value in values]
        return out


def assign_folds(num_acc: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fold of every row by the hash of its accident, 0 … `FOLDS` - 1, shape (n,)."""
    return (hash_keys(num_acc, _SALT) % np.uint64(FOLDS)).astype(np.int64)


def _learn_place(
    values: NDArray[Any], severe: NDArray[np.float64], fold: NDArray[np.int64], mean: float
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Code of a place → rate of all rows; and for each fold that of the rows of the other folds."""
    texts = np.array([value or "" for value in values.tolist()], dtype=str)
    names, place = np.unique(texts, return_inverse=True)
    cells = place * FOLDS + fold
    total = np.bincount(cells, severe, len(names) * FOLDS).reshape(-1, FOLDS)
    rows = np.bincount(cells, minlength=len(names) * FOLDS).reshape(-1, FOLDS)

    def build(severe_rows: NDArray[np.float64], all_rows: NDArray[np.int64]) -> dict[str, float]:
        rates = _smooth(severe_rows, all_rows, mean, PLACE_SMOOTHING)
        return {name: rate for name, rate in zip(names.tolist(), rates, strict=True) if name}

    whole = total.sum(axis=1), rows.sum(axis=1)
    others = [build(whole[0] - total[:, k], whole[1] - rows[:, k]) for k in range(FOLDS)]
    return build(*whole), others


def _smooth(severe: NDArray[np.number], rows: NDArray[np.integer], mean: float, smoothing: int) -> list[float]:
    return np.round((severe + smoothing * mean) / (rows + smoothing), _DIGITS).tolist()
