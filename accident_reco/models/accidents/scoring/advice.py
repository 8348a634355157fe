"""What to ask next: by how much each missing field would change a prediction if it were known. Numpy only.

For every missing field the values that it has among comparable training people (`AdviceTable`, `advice.json` of the
bundle) are put into the record one after the other, and the version itself scores each of them. Codes are exact: all of
their values are tried. Numbers and dates are tried at `MAX_VALUES` quantiles, locations at twice as many; the results
page has the error that this makes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.builder import FLOAT_COLUMNS, TEXT_COLUMNS
from accident_reco.models.accidents.features.context import DRIVER, PEDESTRIAN
from accident_reco.models.accidents.scoring.known_fields import get_name, get_value
from accident_reco.models.accidents.scoring.scorer import ADVICE_FILE
from accident_reco.models.accidents.scoring.user_groups import (
    classify_surroundings,
    classify_users,
    get_codes,
)

FORMAT: Final = 1
MAX_VALUES: Final = 12
# Up to so many different values are tried one by one, those of codes in any case.
MAX_EXACT_VALUES: Final = 16
EVERYBODY: Final = "@"
# Fields that one answer makes known together. A field is missing when all of its columns are.
TOGETHER: Final[dict[str, tuple[str, ...]]] = {
    "com": ("com", "dep", "lat", "long"),
    "jour": ("jour", "mois"),
    "secu1": ("secu1", "secu2", "secu3"),
}
# What is known of a driver is known of the driver of the vehicle as well.
OF_THE_DRIVER: Final = {"an_nais": "driver_an_nais", "sexe": "driver_sexe"}
_EXCLUDED: Final = frozenset({"an", "nb_unknown_users", *(name for names in TOGETHER.values() for name in names[1:])})
_OF_PEDESTRIANS: Final = frozenset({"locp", "actp", "etatp"})
_IDENTITY: Final = ("sexe", "an_nais")

Score = Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float64]]


@dataclass(frozen=True)
class Advice:
    """What one missing field would bring.

    Args:
        column, name: the field and its description.
        change: expected absolute change of the probability once the field is known.
        uncertainty_reduction: expected decrease of the binary entropy of the probability, in bits; below 0 where
            the uncertainty is expected to grow.
        lowest, highest: probability at the least and the most severe of the values.
    """

    column: str
    name: str
    change: float
    uncertainty_reduction: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class FieldValues:
    """Values of a field: `columns` name → values of shape (k,), and their weights of shape (k,), which sum to 1."""

    columns: Mapping[str, NDArray[Any]]
    weight: NDArray[np.float64]


@dataclass(frozen=True)
class AdviceTable:
    """Group of road users → field → its values among the training people of that group; see `find_groups`."""

    groups: Mapping[str, Mapping[str, FieldValues]]

    def to_json(self) -> bytes:
        """`advice.json`: the same bytes for the same table."""
        groups = {
            group: {
                field: {"weight": values.weight.tolist()}
                | {name: [None if v != v else v for v in column.tolist()] for name, column in values.columns.items()}
                for field, values in fields.items()
            }
            for group, fields in self.groups.items()
        }
        document = {"format": FORMAT, "groups": groups}
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()

    @classmethod
    def from_json(cls, content: bytes) -> AdviceTable:
        """The table of an `advice.json`.

        Raises:
            ValueError: it has another format.
        """
        raw = json.loads(content)
        if raw.get("format") != FORMAT:
            raise ValueError(f"{ADVICE_FILE} is not of format {FORMAT}")
        return cls(
            {
                group: {
                    field: FieldValues(
                        {name: _to_array(name, values) for name, values in columns.items() if name != "weight"},
                        np.array(columns["weight"]),
                    )
                    for field, columns in fields.items()
                }
                for group, fields in raw["groups"].items()
            }
        )


def _to_array(name: str, values: list[Any]) -> NDArray[Any]:
    if name in TEXT_COLUMNS:
        return np.array(values, dtype=object)
    if name in FLOAT_COLUMNS:
        return np.array([np.nan if value is None else value for value in values])
    return np.array(values, dtype=np.int32)


def find_groups(columns: Mapping[str, NDArray[Any]]) -> list[tuple[str, ...]]:
    """Groups of every row from the closest one on: kind of user, role and place; kind and role; role; everybody.

    What the known fields do not determine is left open: a group is named `kind/role@place`.
    """
    kinds, roles, place = classify_users(columns), get_codes(columns, "catu"), classify_surroundings(columns)
    groups: list[tuple[str, ...]] = []
    for kind, role, where in zip(kinds.tolist(), roles.tolist(), place.tolist(), strict=True):
        of_role = f"/{role}" if role > 0 else ""
        user = f"{kind}{of_role}" if kind >= 0 else of_role
        groups.append((f"{user}@{where}" if where >= 0 else f"{user}@", f"{user}@", f"{of_role}@", EVERYBODY))
    return groups


def get_role(group: str) -> int:
    """`catu` of the road users of a group; -1: several."""
    user = group.partition("@")[0]
    return int(user.partition("/")[2]) if user else -1


def list_fields(columns: Sequence[str], role: int) -> list[tuple[str, tuple[str, ...]]]:
    """Fields that advice may name, with the columns that each makes known.

    Fields of pedestrians are for pedestrians, and the seat is for passengers and unknown roles.

    Args:
        columns: inputs of the model.
        role: `catu` of the road user, -1: unknown.
    """
    fields = []
    for name in columns:
        if name in _EXCLUDED or (role == DRIVER and name in OF_THE_DRIVER.values()):
            continue
        if (name in _OF_PEDESTRIANS and role != PEDESTRIAN) or (name == "place" and role in (DRIVER, PEDESTRIAN)):
            continue
        together = TOGETHER.get(name, (name,))
        if role == DRIVER and name in OF_THE_DRIVER:
            together = (name, OF_THE_DRIVER[name])
        fields.append((name, together))
    return fields


def advise(
    columns: Mapping[str, NDArray[Any]],
    row: int,
    table: AdviceTable,
    inputs: Sequence[str],
    score: Score,
    max_fields: int,
) -> list[Advice]:
    """The missing fields of one row that would change its probability most, the largest expected change first.

    Args:
        columns: raw columns, each of shape (n,).
        inputs: raw columns that the model takes.
        score: raw columns → probability of every row.
    """
    record = {name: values[row : row + 1] for name, values in columns.items()}
    groups = [group for group in find_groups(record)[0] if group in table.groups]
    candidates: list[tuple[str, FieldValues]] = []
    for field, together in list_fields(inputs, int(get_codes(record, "catu")[0])):
        if all(get_value(record, name, 0) is None for name in together):
            found = next((table.groups[group][field] for group in groups if field in table.groups[group]), None)
            if found is not None:
                candidates.append((field, found))
    if not candidates:
        return []
    tried = score(_build_trials(record, candidates))
    now, *rest = np.split(tried, np.cumsum([1, *(len(values.weight) for _, values in candidates)])[:-1])
    entropy = compute_entropy(now)[0]
    answers = []
    for (field, values), probability in zip(candidates, rest, strict=True):
        change = float(values.weight @ np.abs(probability - now))
        reduction = float(entropy - values.weight @ compute_entropy(probability))
        low, high = float(probability.min()), float(probability.max())
        answers.append(Advice(field, get_name(field), round(change, 6), round(reduction, 6), low, high))
    return sorted(answers, key=lambda advice: -advice.change)[:max_fields]


def compute_entropy(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Binary entropy of each probability in bits, shape (n,)."""
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


def _build_trials(
    record: Mapping[str, NDArray[Any]], candidates: Sequence[tuple[str, FieldValues]]
) -> dict[str, NDArray[Any]]:
    """The record as it is, then once for each value of each field; columns of shape (1 + values,)."""
    rows = 1 + sum(len(values.weight) for _, values in candidates)
    trials = {name: np.repeat(values, rows) for name, values in record.items()}
    # Whose sex and year of birth are both unknown counts among the unknown users until one of them is known.
    counted = all(get_value(record, name, 0) is None for name in _IDENTITY)
    start = 1
    for field, values in candidates:
        part = slice(start, start + len(values.weight))
        for name, column in values.columns.items():
            if name not in trials:
                trials[name] = _build_unknown(column, rows)
            trials[name][part] = column
        if field in _IDENTITY and counted and get_value(record, "nb_unknown_users", 0):
            trials["nb_unknown_users"][part] -= 1
        start = part.stop
    return trials


def _build_unknown(like: NDArray[Any], rows: int) -> NDArray[Any]:
    missing = np.nan if like.dtype.kind == "f" else -1 if like.dtype.kind == "i" else None
    return np.full(rows, missing, dtype=like.dtype)
