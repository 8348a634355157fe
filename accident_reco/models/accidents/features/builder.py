"""The feature builder: BAAC columns → float32 matrix. One function for training, batch scoring and serving.

A column is a numpy array by its official name; missing values are -1 in integers, NaN in floats, None or "" in text. A
column that is absent is missing in every row. In the matrix, missing values are always NaN. Feature sets are defined
here only; what is learnt from data (where accidents happen) is in the `FeatureSpec` of the bundle.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS
from accident_reco.models.accidents.features.location_features import COORDINATES, LOCATION_FEATURES, LocationStatistics
from accident_reco.models.accidents.features.lookups import EQUIPMENT
from accident_reco.models.accidents.features.plan import FeaturePlan
from accident_reco.models.accidents.features.severity_rates import (
    RATE_FEATURES,
    RATED_CODES,
    RATED_PLACES,
    SeverityRates,
)

FORMAT: Final = 1
BIRTH_YEARS: Final = ("driver_an_nais", "other_an_nais")

# Codes that are features themselves. Trees split them as numbers: there are few, and two splits isolate any of them.
_CALL_CODES: Final[tuple[str, ...]] = (
    *("catu", "sexe", "trajet", "place", "locp", "actp", "etatp", "catv", "motor", "senc", "col", "lum", "atm", "agg"),
    *("int", "catr", "circ", "nbv", "vosp", "prof", "plan", "surf", "infra", "situ", "mois"),
    *(name for name in CONTEXT_COLUMNS if name not in BIRTH_YEARS),
)
_CODES_AFTER_RECORDING: Final[tuple[str, ...]] = ("obs", "obsm", "choc", "manv")
CODES: Final[dict[str, tuple[str, ...]]] = {"call": _CALL_CODES, "full": (*_CALL_CODES, *_CODES_AFTER_RECORDING)}

DERIVED: Final[tuple[str, ...]] = (
    *("age", "driver_age", "other_age", "hour", "weekday", "day_type", "speed_limit"),
    *LOCATION_FEATURES,
    *("kind", "opponent", "log_mass_ratio", "speed_change"),
    *EQUIPMENT,
    *RATE_FEATURES,
)
# Raw columns behind the derived features, besides codes.
_DERIVED_FROM: Final[tuple[str, ...]] = (
    *("an", "jour", "hrmn", "an_nais", "vma", "secu1", "secu2", "secu3"),
    *BIRTH_YEARS,
)
FLOAT_COLUMNS: Final[tuple[str, ...]] = COORDINATES
TEXT_COLUMNS: Final[tuple[str, ...]] = ("dep", "com")

_LOCATIONS: Final = slice(DERIVED.index(LOCATION_FEATURES[0]), DERIVED.index(LOCATION_FEATURES[-1]) + 1)
# Rows that are built at once: bounds the memory of a large batch, whose intermediate arrays stay in the cache.
CHUNK_ROWS: Final = 8192


@dataclass(frozen=True)
class FeatureSpec:
    """Features of a model, with statistics of its training rows (`features.json` of the bundle).

    Args:
        feature_set: `call` (known when the call comes in) or `full` (adds obstacle, impact and manoeuvre).
        year: last year of the training rows, assumed where `an` is unknown.
        locations: accident counts and coordinates of the training rows.
        rates: severity rates of the training rows by code and place.
        subset: features of a model that was trained by older code with fewer of them; empty: all of the set.
    """

    feature_set: str = "call"
    year: int = 2024
    locations: LocationStatistics = field(default_factory=LocationStatistics)
    rates: SeverityRates = field(default_factory=SeverityRates)
    subset: tuple[str, ...] = ()

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """Raw columns that are features themselves."""
        return CODES[self.feature_set]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the columns of the matrix, in order."""
        return self.subset or self.all_names

    @cached_property
    def all_names(self) -> tuple[str, ...]:
        """Names of all features that this code builds for the set, in order."""
        return (*self.codes, *DERIVED)

    @cached_property
    def kept(self) -> list[int]:
        """Positions of `names` in `all_names`."""
        return [self.all_names.index(name) for name in self.names]

    @cached_property
    def position(self) -> dict[str, int]:
        """Name of a feature → index of its column in the matrix."""
        return {name: index for index, name in enumerate(self.names)}

    @cached_property
    def plan(self) -> FeaturePlan:
        """Look-up tables of the features of codes."""
        return FeaturePlan(self.codes, self.all_names, self.rates)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Raw columns that the features are built from: the inputs of the model."""
        return (*self.codes, *_DERIVED_FROM, *FLOAT_COLUMNS, *TEXT_COLUMNS)

    @classmethod
    def learn(
        cls,
        columns: Mapping[str, NDArray[Any]],
        feature_set: str = "call",
        label: NDArray[np.integer] | None = None,
    ) -> FeatureSpec:
        """The spec of training rows, which have `Num_Acc`.

        Args:
            columns: raw columns, each of shape (n,).
            feature_set: `call` or `full`.
            label: 1 = severe, shape (n,), for the severity rates; None: rates are missing in every row.

        Raises:
            ValueError: there is no such feature set.
        """
        if feature_set not in CODES:
            raise ValueError(f"feature set {feature_set!r} is not one of {', '.join(CODES)}")
        _, first = np.unique(columns["Num_Acc"], return_index=True)
        accidents = {name: columns[name][first] for name in ("com", "dep", "lat", "long", "an") if name in columns}
        year = int(accidents["an"].max()) if len(first) and "an" in accidents else cls.year
        spec = cls(feature_set, year, LocationStatistics.learn(accidents))
        if label is None:
            return spec
        codes = {name: np.empty(len(label), dtype=np.float32) for name in RATED_CODES}
        for rows, chunk in _iterate_chunks(columns, spec, training_rows=True):
            for name, values in codes.items():
                values[rows] = chunk[:, spec.position[name]]
        return replace(spec, rates=SeverityRates.learn(codes, columns, label))

    def to_json(self) -> bytes:
        """`features.json`: the same bytes for the same spec."""
        document = {
            "format": FORMAT,
            "feature_set": self.feature_set,
            "names": self.names,
            "columns": self.columns,
            "year": self.year,
            **asdict(self.locations),
            **self.rates.to_document(),
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, content: bytes) -> FeatureSpec:
        """The spec of a `features.json`.

        Raises:
            ValueError: it has another format or names features that this code does not build.
        """
        raw = json.loads(content)
        if raw.get("format") != FORMAT or raw.get("feature_set") not in CODES:
            raise ValueError(f"features.json: format {raw.get('format')!r}, feature set {raw.get('feature_set')!r}")
        spec = cls(
            raw["feature_set"], raw["year"], LocationStatistics.from_document(raw), SeverityRates.from_document(raw)
        )
        names = tuple(raw["names"])
        if unknown := sorted(set(names) - set(spec.all_names)):
            raise ValueError(
                f"features.json names features that this code does not build: {', '.join(unknown)}; fix: retrain"
            )
        return spec if names == spec.all_names else replace(spec, subset=names)


def build_features(
    columns: Mapping[str, NDArray[Any]], spec: FeatureSpec, *, training_rows: bool = False
) -> NDArray[np.float32]:
    """Feature matrix (n, len(spec.names)), float32, C-contiguous, NaN = missing.

    Args:
        columns: raw columns, each of shape (n,).
        training_rows: whether the spec was learnt from these rows; counts of accidents and severity rates of places
            then exclude the row's own accident, since it would be missing from those of any other row.
    """
    n = len(next(iter(columns.values())))
    if n <= CHUNK_ROWS:
        return _build_chunk(columns, n, spec, training_rows)
    matrix = np.empty((n, len(spec.names)), dtype=np.float32)
    fill_features(matrix, columns, spec, training_rows=training_rows)
    return matrix


def fill_features(
    matrix: NDArray[np.float32], columns: Mapping[str, NDArray[Any]], spec: FeatureSpec, *, training_rows: bool = False
) -> None:
    """As `build_features`, into a matrix of that shape, which may be part of a larger one."""
    for rows, chunk in _iterate_chunks(columns, spec, training_rows):
        matrix[rows] = chunk


def _iterate_chunks(
    columns: Mapping[str, NDArray[Any]], spec: FeatureSpec, training_rows: bool
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    n = len(next(iter(columns.values())))
    for start in range(0, n, CHUNK_ROWS):
        rows = slice(start, min(start + CHUNK_ROWS, n))
        chunk = {name: values[rows] for name, values in columns.items()}
        yield rows, _build_chunk(chunk, rows.stop - start, spec, training_rows)


def _build_chunk(
    columns: Mapping[str, NDArray[Any]], n: int, spec: FeatureSpec, training_rows: bool
) -> NDArray[np.float32]:
    plan = spec.plan
    block = plan.read(columns, n)
    an, births = block[plan.an], block[plan.births]
    np.copyto(an, spec.year, where=an < 0)
    out = np.empty((plan.n_features, n), dtype=np.float32)
    plan.fill(out, block)
    at = plan.n_codes
    out[at : at + len(births)] = np.where(births > 0, an - births, np.nan)
    out[_LOCATIONS.start + at : _LOCATIONS.stop + at] = spec.locations.features(columns, n, training_rows)
    out[-len(RATED_PLACES) :] = spec.rates.of_places(columns, n, training_rows)
    if spec.subset:
        out = out[spec.kept]
    return np.ascontiguousarray(out.T)
