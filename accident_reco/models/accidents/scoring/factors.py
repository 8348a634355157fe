"""The strongest factors of a prediction in the codebook's words, known fields apart from missing ones.

The effects come from `explanations`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from accident_reco.models.accidents.scoring.known_fields import describe_value, get_name, resolve_field


@dataclass(frozen=True)
class Factor:
    """One factor: column, value in the request, value in words, and effect on the margin (log-odds for boosting).

    `value` is None where it is unknown; `known` is False then, and the effect is that of not knowing it.
    """

    column: str
    name: str
    value: int | float | str | None
    words: str
    effect: float
    known: bool


@dataclass(frozen=True)
class Explanation:
    """Factors of one prediction, strongest first: of all fields, of known fields only, and of missing fields only."""

    factors: Sequence[Factor]
    known: Sequence[Factor]
    missing: Sequence[Factor]


def build_explanation(
    contributions: Mapping[str, float], columns: Mapping[str, NDArray[Any]], row: int, max_factors: int
) -> Explanation:
    """The `max_factors` strongest of each kind from `contributions` (column → effect, strongest first) of one row."""
    factors: list[Factor] = []
    parts: dict[bool, list[Factor]] = {True: [], False: []}
    for column, effect in contributions.items():
        if all(len(part) >= max_factors for part in parts.values()):
            break
        name, value = resolve_field(columns, column, row)
        part = parts[value is not None]
        if len(part) < max_factors:
            factor = Factor(
                name, get_name(name), value, describe_value(name, value), round(effect, 4), value is not None
            )
            part.append(factor)
            if len(factors) < max_factors:
                factors.append(factor)
    return Explanation(factors, parts[True], parts[False])
