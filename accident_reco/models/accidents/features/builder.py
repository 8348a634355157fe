"""The feature builder: BAAC columns in, float32 matrix out. One function for training, batch scoring and serving.

A column is a numpy array by its official name; integers use -1 for unknown, floats NaN, text None or "". A column that
is absent is unknown everywhere. In the matrix unknown is NaN, always. What a feature set contains is decided here and
nowhere else; what was learnt from data (where accidents happen) is in the `FeatureSpec` of the bundle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.calendar import day_slots, day_table
from accident_reco.models.accidents.features.context import CONTEXT_COLUMNS, N_KINDS, PEDESTRIAN
from accident_reco.models.accidents.features.location_features import COORDINATES, PLACE_FEATURES, Places
from accident_reco.models.accidents.features.lookups import BIT, HOUR, SECU_BITS, SPEED, collision_table, vehicle_kind

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
    "age", "driver_age", "other_age", "hour", "weekday", "day_type", "speed_limit", *PLACE_FEATURES,
    "kind", "opponent", "log_mass_ratio", "speed_change",
    "unequipped", "belt", "helmet", "child_seat", "vest", "airbag", "gloves", "equipment_undetermined",
)  # fmt: skip
# Raw columns behind the derived features, besides codes.
_DERIVED_FROM: Final[tuple[str, ...]] = (
    "an", "jour", "hrmn", "an_nais", "vma", "secu1", "secu2", "secu3", *BIRTH_YEARS,
)  # fmt: skip
FLOAT_COLUMNS: Final[tuple[str, ...]] = COORDINATES
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
        places: communes, departments and where accidents happen, from the training rows.
        only: the features of a model that older code trained, which knew fewer; empty: all of the set.
    """

    feature_set: str = "call"
    year: int = 2024
    places: Places = field(default_factory=Places)
    only: tuple[str, ...] = ()

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """Raw columns that are features as they are."""
        return CODES[self.feature_set]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the matrix's columns, in order."""
        return self.only or self.built

    @cached_property
    def built(self) -> tuple[str, ...]:
        """Everything that this code builds for the set, in order."""
        return (*self.codes, *DERIVED)

    @cached_property
    def taken(self) -> list[int]:
        """Where `names` are among what is built."""
        return [self.built.index(name) for name in self.names]

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
        year = int(accidents["an"].max()) if len(first) and "an" in accidents else cls.year
        return cls(feature_set, year, Places.learn(accidents))

    def to_json(self) -> bytes:
        """`features.json`: the same bytes for the same spec."""
        document = {
            "format": FORMAT, "feature_set": self.feature_set, "names": self.names, "columns": self.columns,
            "year": self.year, **asdict(self.places),
        }  # fmt: skip
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, content: bytes) -> FeatureSpec:
        """Read `features.json`. Raises ValueError when it names features that this code does not build."""
        raw = json.loads(content)
        if raw.get("format") != FORMAT or raw.get("feature_set") not in CODES:
            raise ValueError(f"features.json: format {raw.get('format')!r}, feature set {raw.get('feature_set')!r}")
        spec = cls(raw["feature_set"], raw["year"], Places.from_document(raw))
        names = tuple(raw["names"])
        if unheard := sorted(set(names) - set(spec.built)):
            raise ValueError(f"features.json names what this code does not build: {', '.join(unheard)}; retrain")
        return spec if names == spec.built else replace(spec, only=names)


def build_features(
    columns: Mapping[str, NDArray[Any]], spec: FeatureSpec, *, seen: bool = False
) -> NDArray[np.float32]:
    """Feature matrix (n, len(spec.names)), float32, C-contiguous, NaN = unknown.

    `seen` says that the rows are those the spec was learnt from: counts of accidents then leave the row's own one out,
    or a commune with one accident would look different in training than ever after.
    """
    n = len(next(iter(columns.values())))
    out = np.full((len(spec.built), n), np.nan, dtype=np.float32)
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
    at += 7
    out[at : at + len(PLACE_FEATURES)] = spec.places.features(columns, n, seen)
    at += len(PLACE_FEATURES)
    # own kind, opponent's kind, log mass ratio, share of the speed that is lost
    collision = collision_table()[:, (catu == PEDESTRIAN) * 1, vehicle_kind(catv), np.minimum(other_kind, N_KINDS)]
    collision[3] *= speed
    out[at : at + 4] = collision
    bits = SECU_BITS[np.minimum(secu1, 10)] | SECU_BITS[np.minimum(secu2, 10)] | SECU_BITS[np.minimum(secu3, 10)]
    out[at + 4 : at + 12] = (bits & BIT) != 0
    if (nothing := bits == 0).any():
        out[at + 4 : at + 12, nothing] = np.nan
    if spec.only:
        out = out[spec.taken]
    return np.ascontiguousarray(out.T)
