"""A prediction that any version can compute, so that champion and challenger can be compared on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from accident_reco.lifecycle.rollout.state import Rollout
from serving.predict.model_slot import Champion

I = TypeVar("I")  # noqa: E741 - the inputs of a request
R = TypeVar("R")
P = TypeVar("P")


class Outcome(NamedTuple):
    """What one prediction says: its score (None for a ranking), and its class or the ids of its items."""

    score: float | None
    answer: Any


class Division(NamedTuple, Generic[I, R]):
    """How the result of merged requests is divided again.

    Args:
        size: inputs → number of rows.
        divide: result and the sizes of its parts → the result of each.
    """

    size: Callable[[I], int]
    divide: Callable[[R, Sequence[int]], Sequence[R]]


@dataclass(frozen=True)
class Method(Generic[I, R]):
    """How an endpoint computes its requests; made once, so that sampled requests can be computed together.

    Args:
        compute: version and inputs → result; may raise Problem where the request is invalid.
        outcomes: result → one entry per prediction.
        merge: inputs of several requests → those of one with the same predictions, in order.
        key: inputs → key; requests with equal keys can be merged.
        division: where requests are computed together before they are answered, too; see `batches`.
    """

    compute: Callable[[Champion[Any], I], R]
    outcomes: Callable[[R], Sequence[Outcome]]
    merge: Callable[[Sequence[I]], I]
    key: Callable[[I], Hashable] = lambda inputs: None
    division: Division[I, R] | None = None


class Work(NamedTuple, Generic[I, R]):
    """A request that any version can compute."""

    method: Method[I, R]
    inputs: I

    def call(self, version: Champion[Any]) -> R:
        """The result of a version."""
        return self.method.compute(version, self.inputs)

    def outcomes(self, result: R) -> Sequence[Outcome]:
        """One entry per prediction of a result."""
        return self.method.outcomes(result)

    @property
    def kind(self) -> Hashable:
        """Requests of one kind can be merged."""
        return id(self.method), self.method.key(self.inputs)


def compute_merged(
    version: Champion[Any], works: Sequence[Work[I, R]], divide: Callable[[R], Sequence[P]]
) -> Sequence[P] | None:
    """What a version computes for requests of one kind in one call, divided into a part for each.

    None where that fails, or where there are not as many parts: then they are computed singly, to find the one that
    makes it fail.
    """
    method = works[0].method
    try:
        parts = divide(method.compute(version, method.merge([work.inputs for work in works])))
    except Exception:  # whatever a version does is a finding, not a crash
        return None
    return parts if len(parts) == len(works) else None


@dataclass(frozen=True)
class Served(Generic[R]):
    """A result with the version that computed it.

    Args:
        challenger_failed: whether the champion answered in its place.
    """

    version: Champion[Any]
    result: R
    challenger_failed: bool = False


@dataclass(frozen=True)
class Running:
    """A running rollout with both versions in memory.

    Args:
        effective_from: when the share of the present step takes effect in all processes, as a timestamp.
    """

    state: Rollout
    champion: Champion[Any]
    challenger: Champion[Any]
    effective_from: float = 0.0

    def share(self, now: float) -> float:
        """Share of the traffic that the challenger answers at a time: the step before until the present one counts."""
        return self.state.share if now >= self.effective_from else self.state.previous_share

    @property
    def step(self) -> tuple[str, str, str]:
        """Identifies versions and step; the service objectives are judged on comparisons of one step."""
        return self.state.champion, self.state.challenger, self.state.step_since


def merge_columns(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Columns of equal names, (n,) each → those of all rows, in order."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def merge_lists(parts: Sequence[Sequence[Any]]) -> list[Any]:
    """The entries of all lists, in order."""
    return [entry for part in parts for entry in part]


def is_finite(outcome: Outcome) -> bool:
    """Whether a prediction has a usable score."""
    return outcome.score is None or math.isfinite(outcome.score)


def agreement(one: Any, two: Any) -> float:
    """1 for equal answers, else 0; of two lists of items the share of common ones; of fields, without the numbers."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        return float(_classes(one) == _classes(two))
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        longest = max(len(one), len(two))
        return len(set(one) & set(two)) / longest if longest else 1.0
    return float(one == two)


def _classes(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if not isinstance(value, float)}
