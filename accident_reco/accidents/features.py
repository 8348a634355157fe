"""The feature builder: BAAC columns in, float32 matrix out. One function for training, batch scoring and serving.

A column is a numpy array by its official name; integers use -1 for unknown, floats NaN, text None or "". A column that
is absent is unknown everywhere. In the matrix unknown is NaN, always. What a feature set contains is decided here and
nowhere else; what was learnt from data (the communes' sizes and places) is in the `FeatureSpec` of the bundle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.accidents.calendar import day_slots, day_table
from accident_reco.accidents.context import CONTEXT_COLUMNS, N_KINDS, PEDESTRIAN
from accident_reco.accidents.lookups import BIT, HOUR, SECU_BITS, SPEED, collision_table, vehicle_kind

FORMAT: Final = 1
BIRTH_YEARS: Final = ("driver_an_nais", "other_an_nais")

# Codes that are features as they are. Trees split them as numbers: codes are few, and a tree isolates one in two cuts.
_CALL_CODES: Final[tuple[str, ...]] = (
    "catu", "sexe", "trajet", "place", "locp", "actp", "etatp", "catv", "motor", "senc", "col", "lum", "atm", "agg",
    "int", "catr", "circ", "nbv", "vosp", "prof", "plan", "surf", "infra", "situ", "mois",
    *(name for name in CONTEXT_COLUMNS if name not in BIRTH_YEARS),
)  # fmt: skip
_AFTERWARDS: Final[tuple[str, ...]] = ("obs", "obsm", "choc", "manv")
CODES: Final[dict[str, tuple[str, ...]]] = {"call": _CALL_CODES, "full": (*_CALL_CODES, *_AFTERWARDS)}

DERIVED: Final[tuple[str, ...]] = (
    "age", "driver_age", "other_age", "hour", "weekday", "day_type", "speed_limit", "lat", "long", "department",
    "commune_accidents", "kind", "opponent", "log_mass_ratio", "speed_change",
    "unequipped", "belt", "helmet", "child_seat", "vest", "airbag", "gloves", "equipment_undetermined",
)  # fmt: skip
# Raw columns behind the derived features, besides codes.
_DERIVED_FROM: Final[tuple[str, ...]] = (
    "an", "jour", "hrmn", "an_nais", "vma", "secu1", "secu2", "secu3", *BIRTH_YEARS,
)  # fmt: skip
FLOAT_COLUMNS: Final[tuple[str, ...]] = ("lat", "long")
TEXT_COLUMNS: Final[tuple[str, ...]] = ("dep", "com")

# Codes and numbers that the derived features are computed from, as one block of integers.
_NUMBERS: Final[tuple[str, ...]] = (
    "an", "mois", "jour", "hrmn", "vma", "catv", "catu", "other_kind", "secu1", "secu2", "secu3",
    "an_nais", "driver_an_nais", "other_an_nais",
)  # fmt: skip

FEATURE_SETS: Final = tuple(CODES)


@dataclass(frozen=True)
class FeatureSpec:
    """Which features a model takes, with what was learnt from its training rows. JSON in the bundle (`features.json`).

    Args:
        feature_set: `call` (known when the call comes in) or `full` (adds obstacle, impact and manoeuvre).
        year: last year of the training rows, assumed where `an` is unknown.
        communes: INSEE code → (accidents in the training rows, latitude, longitude).
        accidents: in all training rows; a commune's size is its accidents per 100,000 of these.
        departments: department → (latitude, longitude) of its accidents' centre.
    """

    feature_set: str = "call"
    year: int = 2024
    communes: Mapping[str, tuple[int, float, float]] = field(default_factory=dict)
    accidents: int = 0
    departments: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """Raw columns that are features as they are."""
        return CODES[self.feature_set]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the matrix's columns, in order."""
        return (*self.codes, *DERIVED)

    @cached_property
    def position(self) -> dict[str, int]:
        """Name of a feature → its column in the matrix."""
        return {name: index for index, name in enumerate(self.names)}

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Raw columns that the features are made of: what a caller may give."""
        return (*self.codes, *_DERIVED_FROM, *FLOAT_COLUMNS, *TEXT_COLUMNS)

    @classmethod
    def learn(cls, columns: Mapping[str, NDArray[Any]], feature_set: str = "call") -> FeatureSpec:
        """The spec for training rows (needs `Num_Acc`); labels are not looked at."""
        if feature_set not in CODES:
            raise ValueError(f"feature set {feature_set!r} is not one of {', '.join(CODES)}")
        _, first = np.unique(columns["Num_Acc"], return_index=True)
        accidents = {name: columns[name][first] for name in ("com", "dep", "lat", "long", "an") if name in columns}
        lat, long = (accidents.get(name, np.full(len(first), np.nan)) for name in FLOAT_COLUMNS)
        communes = _centres(accidents.get("com"), lat, long)
        departments = {name: (at, on) for name, (_, at, on) in _centres(accidents.get("dep"), lat, long).items()}
        year = int(accidents["an"].max()) if len(first) and "an" in accidents else cls.year
        return cls(feature_set, year, communes, len(first), departments)

    def to_json(self) -> bytes:
        """`features.json`: the same bytes for the same spec."""
        document = {
            "format": FORMAT, "feature_set": self.feature_set, "names": self.names, "columns": self.columns,
            "year": self.year, "accidents": self.accidents, "communes": self.communes,
            "departments": self.departments,
        }  # fmt: skip
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, content: bytes) -> FeatureSpec:
        """Read `features.json`. Raises ValueError when this code builds other features than the file names."""
        raw = json.loads(content)
        if raw.get("format") != FORMAT or raw.get("feature_set") not in CODES:
            raise ValueError(f"features.json: format {raw.get('format')!r}, feature set {raw.get('feature_set')!r}")
        spec = cls(
            raw["feature_set"], raw["year"], {k: tuple(v) for k, v in raw["communes"].items()}, raw["accidents"],
            {k: tuple(v) for k, v in raw["departments"].items()},
        )  # fmt: skip
        if list(spec.names) != raw["names"]:
            raise ValueError("features.json names other features than this code builds; retrain the model")
        return spec


def build_features(
    columns: Mapping[str, NDArray[Any]], spec: FeatureSpec, *, seen: bool = False
) -> NDArray[np.float32]:
    """Feature matrix (n, len(spec.names)), float32, C-contiguous, NaN = unknown.

    `seen` says that the rows are those the spec was learnt from: a commune's size then leaves the row's own accident
    out, or a commune with one accident would look different in training than ever after.
    """
    n = len(next(iter(columns.values())))
    out = np.full((len(spec.names), n), np.nan, dtype=np.float32)
    codes = spec.codes
    for index, name in enumerate(codes):
        if name in columns:
            out[index] = columns[name]
    head = out[: len(codes)]
    head[head < 0] = np.nan

    numbers = np.full((len(_NUMBERS), n), -1, dtype=np.int64)
    for index, name in enumerate(_NUMBERS):
        if name in columns:
            numbers[index] = columns[name]
    _, mois, jour, hrmn, vma, catv, catu, other_kind, secu1, secu2, secu3 = numbers[:11]
    births, an = numbers[11:], numbers[0]
    an[an < 0] = spec.year
    at = len(codes)
    out[at : at + 3] = np.where(births > 0, an - births, np.nan)
    out[at + 3] = HOUR[np.minimum(hrmn, 2400)]
    out[at + 4 : at + 6] = day_table()[:, day_slots(an, mois, jour)]
    speed = SPEED[np.minimum(vma, 131)]
    out[at + 6] = speed
    out[at + 7 : at + 11] = _place(columns, spec, n, seen)
    # own kind, opponent's kind, log mass ratio, share of the speed that is lost
    collision = collision_table()[:, (catu == PEDESTRIAN) * 1, vehicle_kind(catv), np.minimum(other_kind, N_KINDS)]
    collision[3] *= speed
    out[at + 11 : at + 15] = collision
    bits = SECU_BITS[np.minimum(secu1, 10)] | SECU_BITS[np.minimum(secu2, 10)] | SECU_BITS[np.minimum(secu3, 10)]
    out[at + 15 : at + 23] = (bits & BIT) != 0
    if (nothing := bits == 0).any():
        out[at + 15 : at + 23, nothing] = np.nan
    return np.ascontiguousarray(out.T)


def _place(columns: Mapping[str, NDArray[Any]], spec: FeatureSpec, n: int, seen: bool) -> NDArray[np.float32]:
    """Latitude, longitude, department number and size of the commune (accidents per 100,000).

    Unknown coordinates fall back to the commune's centre, then to the department's.
    """
    out = np.full((4, n), np.nan, dtype=np.float32)
    for row, name in enumerate(FLOAT_COLUMNS):
        if name in columns:
            out[row] = columns[name]
    com, dep = columns.get("com"), columns.get("dep")
    nowhere = (0.0, np.nan, np.nan)
    if com is not None:
        places = [spec.communes.get(code, nowhere) if code else (np.nan, np.nan, np.nan) for code in com.tolist()]
        learnt = np.array(places, dtype=np.float32).T if n else np.empty((3, 0), dtype=np.float32)
        # Counts first, so that a commune of n accidents has one and the same size, seen or not.
        out[3] = np.maximum(learnt[0] - np.float32(seen), 0) * np.float32(1e5 / max(spec.accidents, 1))
        out[:2] = np.where(np.isnan(out[:2]), learnt[1:], out[:2])
    if dep is not None:
        codes = dep.tolist()
        out[2] = [department_number(code) for code in codes]
        if np.isnan(out[:2]).any():
            centres = np.array([spec.departments.get(code, nowhere[1:]) for code in codes], dtype=np.float32).T
            out[:2] = np.where(np.isnan(out[:2]), centres, out[:2])
    return out


_CORSICA: Final = {"2A": 20.0, "2B": 20.5}


def department_number(code: str | None) -> float:
    """Department as a number: "01" → 1, "2A" → 20, "2B" → 20.5, "974" → 974, anything else unknown (NaN)."""
    if not code:
        return np.nan
    return float(code) if code.isdecimal() else _CORSICA.get(code, np.nan)


def _centres(
    codes: NDArray[Any] | None, lat: NDArray[np.floating], long: NDArray[np.floating]
) -> dict[str, tuple[int, float, float]]:
    """Code → (accidents, median latitude, median longitude), sorted by code; unknown codes are left out."""
    if codes is None:
        return {}
    names, inverse = np.unique(np.array([code or "" for code in codes.tolist()], dtype=str), return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(inverse, minlength=len(names)))[:-1])
    found = {}
    for name, rows in zip(names.tolist(), groups, strict=True):
        known = rows[np.isfinite(lat[rows]) & np.isfinite(long[rows])]
        if name and len(known):
            at, on = float(np.median(lat[known])), float(np.median(long[known]))
            found[name] = (len(rows), round(at, 4), round(on, 4))
    return found
