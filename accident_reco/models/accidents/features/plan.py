"""The features of codes, compiled into look-up tables once per version: a few array operations for any number of rows.

What the features mean is in `calendar`, `lookups` and `severity_rates`, whose functions fill the tables; `builder` adds
ages and locations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.calendar import FIRST_YEAR, LAST_YEAR, build_day_table, find_day_slots
from accident_reco.models.accidents.features.context import PEDESTRIAN
from accident_reco.models.accidents.features.context_columns import N_KINDS
from accident_reco.models.accidents.features.lookups import (
    EQUIPMENT,
    HOUR,
    SPEED,
    build_collision_table,
    build_equipment_table,
    classify_known_vehicles,
)
from accident_reco.models.accidents.features.severity_rates import MAX_RATED_CODE, RATED_CODES, SeverityRates

# Integer columns that are no features themselves, years of birth last.
_NUMBERS: Final = ("an", "jour", "hrmn", "vma", "secu1", "secu2", "secu3", "an_nais", "driver_an_nais", "other_an_nais")
_N_BIRTHS: Final = 3


@dataclass(frozen=True)
class _Group:
    """Features of three columns together: the sum of the steps of their codes is the slot of the features.

    Args:
        steps: column → step of each code from -1, greater codes like the greatest.
        features: feature → value in each slot.
    """

    steps: Mapping[str, NDArray[np.integer]]
    features: Mapping[str, NDArray[np.float32]]


def _build_days() -> _Group:
    years, months, days = (np.arange(-1, most + 1) for most in (LAST_YEAR + 1, 13, 32))
    steps = {
        "an": find_day_slots(years, -1, -1),
        "mois": find_day_slots(FIRST_YEAR - 1, months, -1),
        "jour": find_day_slots(FIRST_YEAR - 1, -1, days),
    }
    return _Group(steps, dict(zip(("weekday", "day_type"), build_day_table(), strict=True)))


def _build_collisions() -> _Group:
    roles, vehicles, others = (np.arange(-1, most + 1) for most in (PEDESTRIAN + 1, 100, N_KINDS))
    width = N_KINDS + 1
    steps = {
        "catu": (roles == PEDESTRIAN) * width**2,
        "catv": classify_known_vehicles(vehicles) * width,
        "other_kind": others % width,
    }
    names = ("kind", "opponent", "log_mass_ratio", "speed_change")
    return _Group(steps, dict(zip(names, build_collision_table().reshape(len(names), -1), strict=True)))


def _build_equipment() -> _Group:
    table = build_equipment_table()
    codes = np.arange(table.shape[1])
    width = len(codes)
    steps = {"secu1": codes * width**2, "secu2": codes * width, "secu3": codes}
    return _Group(steps, dict(zip(EQUIPMENT, table.reshape(len(EQUIPMENT), -1), strict=True)))


class FeaturePlan:
    """Tables and positions of a feature set with its severity rates. Immutable.

    Args:
        codes: raw columns that are features themselves.
        names: all features, in order, the codes first.
    """

    def __init__(self, codes: Sequence[str], names: Sequence[str], rates: SeverityRates) -> None:
        self.n_codes, self.n_features = len(codes), len(names)
        columns = (*codes, *_NUMBERS)
        self._row = {name: row for row, name in enumerate(columns)}
        self.births = slice(len(columns) - _N_BIRTHS, len(columns))
        self.an = self._row["an"]
        position = {name: index for index, name in enumerate(names)}
        self._speed, self._speed_change = position["speed_limit"], position["speed_change"]

        groups = [_build_days(), _build_collisions(), _build_equipment()]
        steps = {name: table for group in groups for name, table in group.steps.items()}
        slots = [{**group.features, **_rate_features(group.features, rates)} for group in groups]
        self._slot_features = np.array([position[name] for features in slots for name in features])
        self._group = np.repeat(np.arange(len(groups)), [len(features) for features in slots])
        self._slot_values, self._slot_starts = _join([values for features in slots for values in features.values()])

        known = np.arange(-1, MAX_RATED_CODE + 2)
        codes_of = {"hour": ("hrmn", HOUR[np.arange(-1, len(HOUR) - 1)])}
        codes_of |= {"speed_limit": ("vma", SPEED[np.arange(-1, len(SPEED) - 1)])}
        codes_of |= {f"{name}_rate": (name, rates.of_codes(name, known)) for name in RATED_CODES if name in self._row}
        self._code_features = np.array([position[name] for name in codes_of])
        self._code_values, code_starts = _join([values for _, values in codes_of.values()])
        self._steps, step_starts = _join(list(steps.values()))

        # Both kinds of tables begin with the code -1.
        tables = [*steps.items(), *codes_of.values()]
        self._looked_up = np.array([self._row[name] for name, _ in tables])
        self._greatest = np.array([len(table) - 2 for _, table in tables])[:, None]
        self._starts = np.concatenate([step_starts, code_starts]) + 1
        self._shape = (len(groups), len(steps) // len(groups))

    def read(self, columns: Mapping[str, NDArray[Any]], n: int) -> NDArray[np.int32]:
        """Integer columns as one block, shape (columns, n), the codes first; -1 where a column is absent."""
        block = np.full((len(self._row), n), -1, dtype=np.int32)
        for name, values in columns.items():
            row = self._row.get(name)
            if row is not None:
                block[row] = values
        return block

    def fill(self, out: NDArray[np.float32], block: NDArray[np.int32]) -> None:
        """Write all features of codes to their rows of `out`, shape (features, n)."""
        codes = block[: self.n_codes]
        head = out[: self.n_codes]
        head[...] = codes
        np.copyto(head, np.nan, where=codes < 0)
        index = np.minimum(block[self._looked_up], self._greatest)
        index += self._starts
        groups, columns = self._shape
        steps = self._steps.take(index[: groups * columns])
        slots = np.add.reduce(steps.reshape(groups, columns, steps.shape[1]), axis=1)
        out[self._slot_features] = self._slot_values.take(slots[self._group] + self._slot_starts)
        out[self._code_features] = self._code_values.take(index[groups * columns :])
        out[self._speed_change] *= out[self._speed]


def _rate_features(features: Mapping[str, NDArray[np.float32]], rates: SeverityRates) -> dict[str, NDArray[np.float32]]:
    """Rates of those features of a group that have one."""
    return {f"{name}_rate": rates.of_codes(name, values) for name, values in features.items() if name in RATED_CODES}


def _join(tables: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Tables one after the other, and where each begins, shape (tables, 1)."""
    ends = np.cumsum([len(table) for table in tables])
    return np.concatenate(tables), (ends - [len(table) for table in tables])[:, None]
