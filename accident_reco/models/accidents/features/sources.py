"""Raw columns behind each context column and each feature, found by computing them without one column after another.

Derived from the computation itself, there is no list to maintain. The rows have to contain every case once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.builder import FeatureSpec, build_features
from accident_reco.models.accidents.features.context import build_accident_context

Columns = Mapping[str, NDArray[Any]]
Sources = dict[str, tuple[str, ...]]
_ROWS: Final = 2000


def find_feature_sources(columns: Columns, spec: FeatureSpec) -> Sources:
    """Feature → raw columns that it is computed from.

    Args:
        columns: raw columns of some hundred rows, each of shape (n,).
    """
    spec = replace(spec, year=spec.year - 1)  # a missing year is then another one, also in rows of one year

    def build(given: Columns) -> dict[str, NDArray[Any]]:
        return dict(zip(spec.names, build_features(given, spec).T, strict=True))

    return _find_sources(build, {name: columns[name] for name in spec.columns if name in columns})


def find_context_sources() -> Sources:
    """Context column → columns of road users (`catu`, …) and of vehicles (`catv`) that it is computed from.

    Of generated accidents with every kind of vehicle and road user; ids and the accident number are left out.
    """
    draw = np.random.default_rng(1)
    accidents, vehicles = _ROWS // 4, _ROWS // 2
    of_vehicle = draw.integers(0, accidents, vehicles)
    vehicle = draw.integers(0, vehicles, _ROWS)
    columns = {
        "catu": draw.integers(1, 4, _ROWS),
        "sexe": draw.choice([-1, 1, 2], _ROWS),
        "an_nais": draw.choice([-1, *range(1930, 2015)], _ROWS),
        **{name: draw.choice([-1, *range(10)], _ROWS) for name in ("secu1", "secu2", "secu3")},
        "catv": draw.choice([1, 2, 7, 10, 13, 15, 33, 38, 50], vehicles),
    }

    def build(given: Columns) -> dict[str, NDArray[Any]]:
        users = {name: values for name, values in given.items() if name != "catv"}
        of_vehicles = {name: values for name, values in given.items() if name == "catv"}
        found = build_accident_context(of_vehicle[vehicle], vehicle, users, of_vehicle, of_vehicles, accidents)
        return dict(found)

    return _find_sources(build, columns)


def _find_sources(build: Callable[[Columns], dict[str, NDArray[Any]]], columns: Columns) -> Sources:
    """Result → columns without which it has other values, in the order of the columns."""
    complete = build(columns)
    found: dict[str, list[str]] = {name: [] for name in complete}
    for left_out in columns:
        partial = build({name: values for name, values in columns.items() if name != left_out})
        for name, values in complete.items():
            if not np.array_equal(values, partial[name], equal_nan=values.dtype.kind == "f"):
                found[name].append(left_out)
    return {name: tuple(sources) for name, sources in found.items()}
