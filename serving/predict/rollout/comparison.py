"""Compares sampled requests: the version that did not answer computes them, many in one call. No thread, no storage."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.predict.model_slot import Champion
from serving.predict.rollout.work import (
    Outcome,
    Running,
    Served,
    Work,
    agreement,
    compute_merged,
    is_finite,
)

NUMBERS: Final = ("champion_score", "challenger_score", "agreement", "champion_ms", "challenger_ms")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """A sampled request.

    Args:
        ids, inputs: one entry per prediction, as the log stores them.
        at: UTC, when it was answered, as a timestamp.
    """

    running: Running
    served: Served[Any]
    work: Work[Any, Any]
    request_id: str
    ids: Sequence[str]
    inputs: Sequence[Mapping[str, Any]]
    at: float

    @property
    def is_champions(self) -> bool:
        """Whether the champion answered."""
        return bool(self.served.version.version == self.running.state.champion)

    @property
    def other(self) -> Champion[Any]:
        """The version that did not answer."""
        return self.running.challenger if self.is_champions else self.running.champion


def compute(jobs: Sequence[Job]) -> list[Sequence[Outcome] | None]:
    """What the other version says to each request, None where it fails. Requests of a kind are computed together."""
    kinds: dict[Any, list[int]] = {}
    for place, job in enumerate(jobs):
        kinds.setdefault((job.work.kind, job.other.version), []).append(place)
    found: list[Sequence[Outcome] | None] = [None] * len(jobs)
    for places in kinds.values():
        some = [jobs[place] for place in places]
        for place, outcomes in zip(places, _compute_together(some), strict=True):
            found[place] = outcomes
    return found


def _compute_together(jobs: Sequence[Job]) -> list[Sequence[Outcome] | None]:
    """Outcomes of requests of a kind; singly where the common call fails, to find the one that makes it fail."""
    if len(jobs) == 1:
        return [_outcomes(jobs[0].work, jobs[0].other)]
    ends = list(accumulate(len(job.ids) for job in jobs))

    def divide(result: Any) -> list[Sequence[Outcome]]:
        merged = jobs[0].work.outcomes(result)
        if len(merged) != ends[-1]:
            return []
        return [merged[end - len(job.ids) : end] for job, end in zip(jobs, ends, strict=True)]

    parts = compute_merged(jobs[0].other, [job.work for job in jobs], divide)
    return [_outcomes(job.work, job.other) for job in jobs] if parts is None else list(parts)


def _outcomes(work: Work[Any, Any], version: Champion[Any]) -> Sequence[Outcome] | None:
    try:
        return work.outcomes(work.call(version))
    except Exception:  # whatever a version does is a finding, not a crash
        return None


def time_both(job: Job, champion_first: bool) -> tuple[float, float] | None:
    """Milliseconds of champion and challenger on a request, one right after the other; None where one fails.

    Args:
        champion_first: to alternate between requests, since the second call finds the inputs in the caches.
    """
    versions = [job.running.champion, job.running.challenger]
    milliseconds = {}
    for version in versions if champion_first else reversed(versions):
        started = time.perf_counter()
        try:
            job.work.call(version)
        except Exception:  # whatever a version does is a finding, not a crash
            return None
        milliseconds[version.version] = (time.perf_counter() - started) * 1000
    return milliseconds[versions[0].version], milliseconds[versions[1].version]


def build_rows(
    job: Job,
    groups: Sequence[str | None],
    outcomes: Sequence[Outcome] | None,
    times: tuple[float, float] | None,
) -> list[Row]:
    """Rows of `rollout_calls`, one per prediction.

    Args:
        groups: key of the group of dependent rows of each prediction.
        outcomes: what the other version says, as `compute` returns it.
        times: of `time_both`; a call is one measurement, so that only its first row has them.
    """
    state, by_champion = job.running.state, job.is_champions
    common: Row = {
        "model": state.model,
        "champion": state.champion,
        "challenger": state.challenger,
        "answered_by": job.served.version.version,
        "at": datetime.fromtimestamp(job.at, UTC),
        **dict.fromkeys(NUMBERS),
        "problem": None,
    }
    rows = [common | {"id": id_, "group_key": group} for id_, group in zip(job.ids, groups, strict=True)]
    problem = None
    if job.served.challenger_failed:
        problem = "failed"
    elif outcomes is None:
        problem = "failed" if by_champion else "champion_failed"
    if outcomes is None or problem is not None:
        return [row | {"problem": problem} for row in rows]
    served = job.work.outcomes(job.served.result)
    for row, one, two in zip(rows, served, outcomes, strict=True):
        champion, challenger = (one, two) if by_champion else (two, one)
        row["champion_score"], row["challenger_score"] = champion.score, challenger.score
        row["agreement"] = agreement(champion.answer, challenger.answer)
        if not is_finite(challenger):
            row |= {"challenger_score": None, "problem": "not_finite"}
    if times is not None:
        rows[0] |= {"champion_ms": times[0], "challenger_ms": times[1]}
    return rows


class Window:
    """The newest comparisons of a step as columns, in a ring of fixed size: adding does not touch older rows."""

    def __init__(self, size: int) -> None:
        self._numbers = {name: np.full(size, np.nan) for name in NUMBERS}
        self._problems = np.full(size, None, dtype=object)
        self._size, self._added = size, 0
        self._step: Any = None

    def add(self, step: Any, rows: Sequence[Row]) -> None:
        """Add rows; those of another step replace all earlier ones."""
        if step != self._step:
            self._step, self._added = step, 0
        rows = rows[-self._size :]
        places = (self._added + np.arange(len(rows))) % self._size
        for name, column in self._numbers.items():
            column[places] = [np.nan if row[name] is None else row[name] for row in rows]
        self._problems[places] = [row["problem"] for row in rows]
        self._added += len(rows)

    @property
    def timed(self) -> int:
        """Number of rows with times."""
        return int(np.isfinite(self._numbers["champion_ms"][: self._added]).sum())

    def columns(self) -> dict[str, NDArray[Any]]:
        """As `rollout_calls.recent_calls` returns them, each of shape (n,), in any order."""
        known = min(self._added, self._size)
        columns: dict[str, NDArray[Any]] = {name: column[:known] for name, column in self._numbers.items()}
        return columns | {"problem": self._problems[:known]}
