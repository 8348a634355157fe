"""Computes sampled requests with the other version too, off the answer's path, and judges the service objectives.

An answer only appends to a queue of limited length; what does not fit, or waits for too long, is dropped and counted. A
thread takes what has arrived every second, many requests in one call, and rests where its share of the processor is
used up.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from accident_reco.lifecycle.rollout.decision import MIN_CALLS, read_policy, violation
from accident_reco.lifecycle.rollout.evidence import summarize_calls
from accident_reco.storage.rollout_calls import insert_calls
from accident_reco.storage.warehouse import Warehouse
from serving.common import logs
from serving.common.background import PeriodicTask
from serving.common.metrics import Metrics
from serving.predict.rollout.comparison import Job, Row, Window, build_rows, compute, time_both
from serving.predict.rollout.pacing import Allowance
from serving.predict.rollout.work import Running

QUEUE_ROWS: Final = 2_000
"""Predictions that wait at most; a single larger request fits an empty queue."""
QUEUE_SECONDS: Final = 30.0
"""How long they wait at most: times and scores are compared within the same minutes."""
TURN_SECONDS: Final = 1.0
BATCH_ROWS: Final = 250
"""Predictions computed before the processor time is looked at again."""
TIMED_PER_BATCH: Final = 5
"""Requests that both versions compute singly for their times, once as many are known as the objective needs."""
WINDOW_ROWS: Final = 5_000
"""Comparisons of this process that the objectives are judged on."""
SHARE_PER_SAMPLE: Final = 0.3
"""Share of a core per share of the requests sampled: 3 % at 10 %."""
MIN_SHARE: Final = 0.02


class ComparisonMetrics:
    """Metrics of the comparisons of a process."""

    def __init__(self, metrics: Metrics) -> None:
        self.compared = metrics.counter(
            "rollout_comparisons",
            "Predictions that both versions computed: same, other or failed",
            ("model", "outcome"),
        )
        self.dropped = metrics.counter(
            "rollout_dropped", "Comparisons dropped: queue full, waited too long, or not stored", ("model",)
        )


class Comparer:
    """One thread per model.

    Args:
        log_group: row of the log → key of its group of dependent rows.
        sample: share of the requests that are compared.
        current: the rollout that this process follows.
        stop: called with the running rollout and the violated objective.
    """

    def __init__(
        self,
        model: str,
        log_group: Callable[[Row], str | None],
        warehouse: Warehouse,
        metrics: ComparisonMetrics,
        sample: float,
        current: Callable[[], Running | None],
        stop: Callable[[Running, str], None],
    ) -> None:
        self._model, self._log_group, self._warehouse = model, log_group, warehouse
        self._metrics, self._current, self._stop = metrics, current, stop
        self._jobs: deque[Job] = deque()
        self._waiting = 0  # predictions in the queue
        self._lock = threading.Lock()  # requests are computed in the event loop or in threads
        self._window = Window(WINDOW_ROWS)
        self._allowance = Allowance(max(MIN_SHARE, SHARE_PER_SAMPLE * sample), time.monotonic)
        self._task = PeriodicTask(f"rollout-compare-{model}", self._turn, self._finish)
        self._log = logs.get("rollout")

    def start(self) -> None:
        """Begin to compare."""
        self._task.start()

    def close(self) -> None:
        """Compare what is queued, within limits, and stop."""
        self._task.stop(3)

    def enqueue(self, job: Job) -> None:
        """Queue a request, or drop and count it. Never blocks."""
        rows = len(job.ids)
        with self._lock:
            fits = not self._jobs or self._waiting + rows <= QUEUE_ROWS
            if fits:
                self._jobs.append(job)
                self._waiting += rows
        if not fits:
            self._drop(rows)

    def _turn(self) -> float:
        """Compare what has arrived, as far as time and processor time of a turn reach, then judge."""
        compared, end = 0, time.monotonic() + TURN_SECONDS
        # A slow challenger waits more than it computes: requests may arrive faster than both versions are timed.
        while time.monotonic() < end and self._allowance.wait() == 0.0 and (jobs := self._take()):
            started = time.thread_time()
            running = self._current()
            # Of a rollout or a step that is over, nothing is to be found out any more.
            same = [job for job in jobs if running is not None and job.running.step == running.step]
            self._drop(sum(len(job.ids) for job in jobs) - sum(len(job.ids) for job in same))
            if running is not None and same:
                compared += self._keep(running, self._compare(same))
            self._allowance.spend(time.thread_time() - started)
        running, started = self._current(), time.thread_time()
        if running is not None and compared:
            self._judge(running)
        self._allowance.spend(time.thread_time() - started)
        return max(TURN_SECONDS, self._allowance.wait())

    def _finish(self) -> None:
        """The last turn; what it leaves is dropped."""
        self._turn()
        with self._lock:
            left, self._waiting = self._waiting, 0
            self._jobs.clear()
        self._drop(left)

    def _take(self) -> list[Job]:
        """The oldest requests with `BATCH_ROWS` predictions together, at least one; without those that are too old."""
        oldest = time.time() - QUEUE_SECONDS
        taken: list[Job] = []
        size = expired = 0
        with self._lock:
            while self._jobs and (not taken or size + len(self._jobs[0].ids) <= BATCH_ROWS):
                job = self._jobs.popleft()
                self._waiting -= len(job.ids)
                if job.at < oldest:
                    expired += len(job.ids)
                else:
                    taken.append(job)
                    size += len(job.ids)
        self._drop(expired)
        return taken

    def _compare(self, jobs: Sequence[Job]) -> list[Row]:
        to_time = max(TIMED_PER_BATCH, MIN_CALLS - self._window.timed)
        found: list[Row] = []
        for place, (job, outcomes) in enumerate(zip(jobs, compute(jobs), strict=True)):
            times = None
            if place < to_time and outcomes is not None and not job.served.challenger_failed:
                times = time_both(job, champion_first=bool(place % 2))
            groups = [self._log_group({"inputs": one, "request_id": job.request_id}) for one in job.inputs]
            found += build_rows(job, groups, outcomes, times)
        return found

    def _keep(self, running: Running, rows: Sequence[Row]) -> int:
        """Store rows and keep them for the objectives; returns their number."""
        self._window.add(running.step, rows)
        outcomes = Counter("failed" if r["problem"] else "same" if r["agreement"] == 1.0 else "other" for r in rows)
        for outcome, number in outcomes.items():
            self._metrics.compared.labels(self._model, outcome).inc(number)
        try:
            insert_calls(self._warehouse, rows)
        except SQLAlchemyError as error:
            self._drop(len(rows))
            self._log.warning("comparisons not stored", rows=len(rows), error=type(error).__name__)
        return len(rows)

    def _drop(self, rows: int) -> None:
        if rows:
            self._metrics.dropped.labels(self._model).inc(rows)

    def _judge(self, running: Running) -> None:
        policy = read_policy(running.state.rule)
        violated = violation(summarize_calls(self._window.columns(), policy), policy)
        if violated is not None:
            self._stop(running, violated)
