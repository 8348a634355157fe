"""Computes sampled requests with the other version too, off the answer's path, and judges the service objectives.

The queue is bounded: what does not fit is dropped and counted, and no request waits.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from accident_reco.lifecycle.rollout.decision import read_policy, violation
from accident_reco.lifecycle.rollout.evidence import summarize_calls
from accident_reco.storage.rollout_calls import insert_calls
from accident_reco.storage.warehouse import Warehouse
from serving.common import logs
from serving.common.background import PeriodicTask
from serving.common.metrics import Metrics
from serving.predict.rollout.work import Running, Served, Work, agreement, is_finite, time_call

QUEUE_JOBS: Final = 100
TURN_SECONDS: Final = 1.0
# On every fourth comparison the version that answered is timed again beside the other one: equal conditions for both.
TIMED_EVERY: Final = 4
# Comparisons of this process that the objectives are judged on.
WINDOW_ROWS: Final = 5_000
MAX_ROWS: Final = 2_000
_NUMBERS: Final = ("champion_score", "challenger_score", "agreement", "champion_ms", "challenger_ms")

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A sampled request; `ids` and `groups` have one entry per prediction."""

    running: Running
    served: Served[Any]
    work: Work[Any]
    ids: Sequence[str]
    groups: Sequence[str | None]


class ComparisonMetrics:
    """Metrics of the comparisons of a process."""

    def __init__(self, metrics: Metrics) -> None:
        self.compared = metrics.counter(
            "rollout_comparisons",
            "Predictions that both versions computed: same, other or failed",
            ("model", "outcome"),
        )
        self.dropped = metrics.counter("rollout_dropped", "Comparisons dropped: queue full, or not stored", ("model",))


class Comparer:
    """One thread per model.

    Args:
        stop: called with the running rollout and the violated objective.
    """

    def __init__(
        self, model: str, warehouse: Warehouse, metrics: ComparisonMetrics, stop: Callable[[Running, str], None]
    ) -> None:
        self._model, self._warehouse, self._metrics, self._stop = model, warehouse, metrics, stop
        self._jobs: queue.Queue[Job | None] = queue.Queue(QUEUE_JOBS)
        self._recent: deque[Row] = deque(maxlen=WINDOW_ROWS)
        self._compared = 0
        self._task = PeriodicTask(f"rollout-compare-{model}", self._turn)
        self._log = logs.get("rollout")

    def start(self) -> None:
        """Begin to compare."""
        self._task.start()

    def close(self) -> None:
        """Stop; what is queued is dropped."""
        with suppress(queue.Full):
            self._jobs.put_nowait(None)  # ends the wait for a job
        self._task.stop(3)

    def enqueue(self, job: Job) -> None:
        """Queue a request, or drop and count it. Never blocks."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self._metrics.dropped.labels(self._model).inc(len(job.ids))

    def forget(self) -> None:
        """Begin a step: earlier comparisons no longer count for its objectives."""
        self._recent.clear()

    def _turn(self) -> float:
        """Compare what arrives within a second, store the rows, then judge."""
        rows: list[Row] = []
        running: Running | None = None
        ends = time.monotonic() + TURN_SECONDS
        while len(rows) < MAX_ROWS and (left := ends - time.monotonic()) > 0:
            try:
                job = self._jobs.get(timeout=left)
            except queue.Empty:
                break
            if job is None:
                break
            running = job.running
            rows += self._compare(job)
        if running is not None:
            self._recent.extend(rows)
            self._store(rows)
            self._judge(running)
        return 0.0

    def _compare(self, job: Job) -> list[Row]:
        state, served = job.running.state, job.served
        by_champion = served.version.version == state.champion
        common: Row = {
            "model": state.model,
            "champion": state.champion,
            "challenger": state.challenger,
            "answered_by": served.version.version,
            "at": datetime.now(UTC),
            **dict.fromkeys(_NUMBERS),
            "problem": None,
        }
        names = [{"id": id_, "group_key": group} for id_, group in zip(job.ids, job.groups, strict=True)]
        if served.challenger_failed:
            return [common | name | {"problem": "failed"} for name in names]
        result, other_ms = time_call(job.work, job.running.challenger if by_champion else job.running.champion)
        if result is None:
            return [common | name | {"problem": "failed" if by_champion else "champion_failed"} for name in names]
        common |= self._times(job, other_ms, by_champion)
        pairs = zip(names, job.work.outcomes(served.result), job.work.outcomes(result), strict=True)
        rows = []
        for name, one, two in pairs:
            champion, challenger = (one, two) if by_champion else (two, one)
            scores: Row = {"champion_score": champion.score, "challenger_score": challenger.score}
            if not is_finite(challenger):
                scores |= {"challenger_score": None, "problem": "not_finite"}
            rows.append(common | name | scores | {"agreement": agreement(champion.answer, challenger.answer)})
        return rows

    def _times(self, job: Job, other_ms: float, by_champion: bool) -> Row:
        self._compared += 1
        if self._compared % TIMED_EVERY:
            return {}
        result, served_ms = time_call(job.work, job.served.version)
        if result is None:
            return {}
        mine, others = ("champion_ms", "challenger_ms") if by_champion else ("challenger_ms", "champion_ms")
        return {mine: served_ms, others: other_ms}

    def _store(self, rows: Sequence[Row]) -> None:
        for row in rows:
            outcome = "failed" if row["problem"] else "same" if row["agreement"] == 1.0 else "other"
            self._metrics.compared.labels(self._model, outcome).inc()
        try:
            insert_calls(self._warehouse, rows)
        except SQLAlchemyError as error:
            self._metrics.dropped.labels(self._model).inc(len(rows))
            self._log.warning("comparisons not stored", rows=len(rows), error=type(error).__name__)

    def _judge(self, running: Running) -> None:
        recent = [row for row in self._recent if row["challenger"] == running.state.challenger]
        violated = violation(summarize_calls(as_columns(recent)), read_policy(running.state.rule))
        if violated is not None:
            self._stop(running, violated)


def as_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows as `rollout_calls.recent_calls` returns them, each column of shape (n,)."""
    columns: dict[str, Any] = {
        name: np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)
        for name in _NUMBERS
    }
    problems = np.empty(len(rows), dtype=object)
    problems[:] = [row["problem"] for row in rows]
    return columns | {"problem": problems}
