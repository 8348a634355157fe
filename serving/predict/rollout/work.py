"""A prediction that any version can compute, so that champion and challenger can be compared on it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from accident_reco.lifecycle.rollout.state import Rollout
from serving.predict.model_slot import Champion

R = TypeVar("R")


class Outcome(NamedTuple):
    """What one prediction says: its score (None for a ranking), and its class or the ids of its items."""

    score: float | None
    answer: Any


@dataclass(frozen=True)
class Work(Generic[R]):
    """A prediction that any version can compute.

    Args:
        call: version → result; may raise Problem where the request is invalid.
        outcomes: result → one entry per prediction.
    """

    call: Callable[[Champion[Any]], R]
    outcomes: Callable[[R], Sequence[Outcome]]


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
    """A running rollout with both versions in memory."""

    state: Rollout
    champion: Champion[Any]
    challenger: Champion[Any]


def time_call(work: Work[R], version: Champion[Any]) -> tuple[R | None, float]:
    """Result and milliseconds; no result where the version failed."""
    started = time.perf_counter()
    try:
        result = work.call(version)
    except Exception:  # whatever a version does is a finding, not a crash
        return None, 0.0
    return result, (time.perf_counter() - started) * 1000


def is_finite(outcome: Outcome) -> bool:
    """Whether a prediction has a usable score."""
    return outcome.score is None or math.isfinite(outcome.score)


def agreement(one: Any, two: Any) -> float:
    """1 for equal answers, else 0; of two lists of items the share of common ones."""
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        longest = max(len(one), len(two))
        return len(set(one) & set(two)) / longest if longest else 1.0
    return float(one == two)
