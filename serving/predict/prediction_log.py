"""The prediction log: a bounded queue, a thread that writes it to the warehouse, and one that spills it to disk.

Never delays an answer. While the database is away rows wait in memory, beyond that on disk; what fits in neither is
counted as it is dropped. Oldest first: rows on disk are older than those in memory, and are sent before them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy.exc import SQLAlchemyError

from accident_reco.storage import prediction_log
from accident_reco.storage.warehouse import Warehouse, is_content_error
from serving.common import logs
from serving.common.ids import random_hex
from serving.common.metrics import Metrics
from serving.predict.log_spill import Spill, count_rows, encode_row

# Rows of one transaction and of one spilled file: large enough to be cheap, short enough to let others write.
BATCH_ROWS: Final = 1000
# How long the writer waits between two batches that are not full: a row waits for at most twice as long.
LINGER_SECONDS: Final = 0.5
FIRST_PAUSE_SECONDS: Final = 0.2
MAX_PAUSE_SECONDS: Final = 2.0
# A full spill is tried again after this.
FULL_PAUSE_SECONDS: Final = 1.0
FLUSH_SECONDS: Final = 4.0
RETENTION_EVERY_SECONDS: Final = 3600.0

Row = dict[str, Any]


def new_id() -> str:
    """An id of a call, 28 characters. Begins with its time: random ones would each touch a page of the log's key."""
    return f"{time.time_ns() // 1_000_000:012x}{random_hex()}"


@dataclass(slots=True)  # not frozen: that takes three times as long to make
class Call:
    """One answered (or refused) call, with a row per road user or user.

    Args:
        inputs: the inputs of each row: a mapping, or its JSON as an `orjson.Fragment`.
    """

    model: str
    version: str | None
    request_id: str
    user_name: str
    source: str
    status: int
    latency_ms: float
    ids: Sequence[str]
    inputs: Sequence[Mapping[str, Any] | orjson.Fragment]
    scores: Sequence[float | None]
    answers: Sequence[Any]
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def rows(self) -> list[Row]:
        """Rows of the log."""
        common = {
            "request_id": self.request_id,
            "at": self.at,
            "model": self.model,
            "version": self.version,
            "user_name": self.user_name,
            "source": self.source,
            "status": self.status,
            "latency_ms": round(self.latency_ms, 3),
        }
        return [
            {**common, "id": id_, "inputs": inputs, "score": score, "answer": answer}
            for id_, inputs, score, answer in zip(self.ids, self.inputs, self.scores, self.answers, strict=True)
        ]


class PredictionLog:
    """Takes calls from the event loop; threads of its own write and spill them."""

    def __init__(
        self,
        warehouse: Warehouse,
        metrics: Metrics,
        spill: Spill,
        *,
        queue_rows: int,
        retention_days: int,
        enabled: bool = True,
    ) -> None:
        self._warehouse = warehouse
        self._spill = spill
        self._max_rows = queue_rows
        # At half of the queue the writer does not linger. Above three quarters it is too slow, or the database is
        # away: the oldest rows are spilled down to a quarter, so that what arrives in the meantime finds room.
        self._wake_rows, self._spill_rows, self._spilled_to = queue_rows // 2, queue_rows * 3 // 4, queue_rows // 4
        # What is in flight cannot be spilled: in a small queue it must not be most of it.
        self._batch_rows = min(BATCH_ROWS, queue_rows // 4)
        self._retention = timedelta(days=retention_days)
        self._enabled = enabled
        self._calls: deque[Call] = deque()
        # Parts of the batch that the writer holds, last part first; empty while it sends a spilled file.
        self._in_flight: list[list[Row]] = []
        self._waiting = 0  # rows in memory, those in flight included
        self._spilled = 0
        self._lock = threading.Lock()
        # Held while rows leave the queue, so that none passes an older one on its way to the disk.
        self._moving = threading.Lock()
        self._wake, self._crowded, self._stopping = threading.Event(), threading.Event(), threading.Event()
        self._is_away = self._is_closed = False
        self._deadline = float("inf")
        self._threads: list[threading.Thread] = []
        self._log = logs.get("prediction-log")
        self._queued = metrics.gauge("prediction_log_queue_rows", "Rows that wait to be logged, in memory and on disk")
        self._written = metrics.counter("prediction_log_rows", "Rows logged")
        self._dropped = metrics.counter(
            "prediction_log_dropped_rows",
            "Rows not logged: `full`: no room in memory or on disk; `refused`: the database refuses their content; "
            "`failed`: lost at shutdown or on disk",
            ("reason",),
        )
        for reason in ("full", "refused", "failed"):
            self._dropped.labels(reason)

    @property
    def is_filling(self) -> bool:
        """Whether a caller that can wait should: the queue is half full and the writer at work."""
        return self._waiting >= self._wake_rows and not self._is_away

    def enqueue(self, call: Call) -> None:
        """Queue a call, or drop and count it when the queue is full. Never blocks, never raises."""
        if not self._enabled:
            return
        n = len(call.ids)
        with self._lock:
            waiting = self._waiting + n
            if waiting > self._max_rows:
                self._dropped.labels("full").inc(n)
                return
            self._calls.append(call)
            self._queued.set(waiting + self._spilled)
            self._waiting = waiting
        if waiting >= self._wake_rows:
            self._wake.set()
            if waiting >= self._spill_rows:
                self._crowded.set()

    def start(self) -> None:
        """Begin to write; what an earlier process left on disk goes first."""
        if self._enabled:
            for name, work in (("prediction-log", self._write), ("prediction-log-spill", self._keep_room)):
                self._threads.append(threading.Thread(target=work, name=name, daemon=True))
                self._threads[-1].start()

    def stop(self) -> None:
        """Write what is queued, for at most some seconds, and spill the rest; with the database away, spill at once."""
        if not self._threads:
            return
        self._deadline = time.monotonic() + FLUSH_SECONDS
        for event in (self._stopping, self._wake, self._crowded):
            event.set()
        # A writer that is stuck in the database is left behind: rows that it still writes are known by their ids.
        for thread in self._threads:
            thread.join(0.5 if self._is_away else FLUSH_SECONDS + 0.5)
        with self._moving, self._lock:
            self._is_closed, self._max_rows = True, 0
            rows = [row for part in reversed(self._in_flight) for row in part]
            rows += [row for call in self._calls for row in call.rows()]
            self._calls.clear()
            self._in_flight, self._waiting = [], 0
        lost = 0
        for start in range(0, len(rows), BATCH_ROWS):
            batch = rows[start : start + BATCH_ROWS]
            lost += 0 if self._to_disk(batch) else len(batch)
        if rows:
            self._dropped.labels("failed").inc(lost)
            self._log.warning("rows left at shutdown", spilled=len(rows) - lost, lost=lost)
        self._report()
        self._spill.close()

    def _write(self) -> None:
        retention_due = time.monotonic() + 60.0
        is_last = False
        while not is_last:
            self._wake.wait(LINGER_SECONDS)
            self._wake.clear()
            is_last = self._stopping.is_set()
            # Rows that arrive meanwhile wait for company again: a transaction of a few costs as much as one of many.
            while self._send_next() and self._is_behind():
                self._report()
            self._report()
            is_last = is_last or bool(self._in_flight)  # not sent: the process stops
            if not is_last and time.monotonic() >= retention_due:
                retention_due = time.monotonic() + RETENTION_EVERY_SECONDS
                self._forget_old()

    def _is_behind(self) -> bool:
        return self._stopping.is_set() or self._spilled > 0 or self._waiting >= self._batch_rows

    def _send_next(self) -> bool:
        """Send the oldest batch, however long it takes; False when none is left or the process stops."""
        with self._moving:
            if self._is_closed or time.monotonic() >= self._deadline:
                return False
            file = self._spill.oldest()
            if file is None:
                rows = [row for call in self._take() for row in call.rows()]
                self._in_flight = [rows] if rows else []
        if file is None:
            return bool(rows) and self._send(self._in_flight, is_spilled=False)
        try:
            parts = [self._spill.read(file)]
        except (OSError, ValueError) as error:
            self._dropped.labels("failed").inc(count_rows(file))
            self._log.error("spilled file unreadable", file=file.name, error=str(error))
        else:
            if not self._send(parts, is_spilled=True):
                return False
        self._spill.remove(file)
        return True

    def _send(self, parts: list[list[Row]], is_spilled: bool) -> bool:
        """Insert all parts, the last one first, until it is done; False when the process stops before that.

        A part that the database refuses for its content is halved until the rows at fault are alone, and dropped.
        """
        # A process that ended, or lost its connection, may have written rows without learning of it.
        skip_known, pause = is_spilled, FIRST_PAUSE_SECONDS
        while parts:
            part, outcome = parts[-1], self._written
            try:
                prediction_log.insert_predictions(self._warehouse, part, skip_known=skip_known)
            except Exception as error:  # whatever a driver makes of odd values: the thread must live
                skip_known = True
                if not is_content_error(error):
                    self._is_away = True
                    self._log.warning("rows not logged yet", rows=self._waiting, error=type(error).__name__)
                    if self._stopping.wait(pause):
                        return False
                    pause = min(2 * pause, MAX_PAUSE_SECONDS)
                    continue
                if len(part) > 1:
                    middle = len(part) // 2
                    parts[-1:] = [part[middle:], part[:middle]]
                    continue
                outcome = self._dropped.labels("refused")
                self._log.error("row refused", id=str(part[0].get("id")), error=type(error).__name__)
            with self._lock:
                if self._is_closed:
                    return False  # spilled by `stop` meanwhile
                parts.pop()
                outcome.inc(len(part))
                self._waiting -= 0 if is_spilled else len(part)
            self._is_away, pause = False, FIRST_PAUSE_SECONDS
        return True

    def _keep_room(self) -> None:
        while not self._stopping.is_set():
            self._crowded.wait(LINGER_SECONDS)
            self._crowded.clear()
            if self._waiting >= self._spill_rows and not self._make_room():
                self._stopping.wait(FULL_PAUSE_SECONDS)
            self._report()

    def _make_room(self) -> bool:
        """Spill the oldest rows of the queue; False when the disk does not take them."""
        while self._waiting > self._spilled_to:
            with self._moving:
                calls = self._take()
                rows = [row for call in calls for row in call.rows()]
                if not rows:
                    break  # all are in flight
                fits = self._to_disk(rows)
                with self._lock:
                    if fits:
                        self._waiting -= len(rows)
                    else:
                        self._calls.extendleft(reversed(calls))
                        return False
        return True

    def _take(self) -> list[Call]:
        """A batch of the oldest calls, out of the queue."""
        taken: list[Call] = []
        n = 0
        with self._lock:
            while self._calls and n < self._batch_rows:
                taken.append(self._calls.popleft())
                n += len(taken[-1].ids)
        return taken

    def _to_disk(self, rows: Sequence[Row]) -> bool:
        """Spill rows as one file; False, with nothing spilled, when the disk does not take them."""
        lines = []
        for row in rows:
            try:
                lines.append(encode_row(row))
            except TypeError as error:  # no database would take it either
                self._log.error("row refused", id=str(row["id"]), error=str(error))
        try:
            fits = not lines or self._spill.write(rows[0]["at"], lines)
        except OSError as error:
            self._log.error("rows not spilled", rows=len(rows), error=str(error))
            return False
        if fits:
            self._dropped.labels("refused").inc(len(rows) - len(lines))
        return fits

    def _report(self) -> None:
        spilled = self._spill.waiting_rows()
        with self._lock:
            self._spilled = spilled
            self._queued.set(self._waiting + spilled)

    def _forget_old(self) -> None:
        try:
            prediction_log.create_months(self._warehouse)
            dropped = prediction_log.delete_older_than(self._warehouse, self._retention)
        except (SQLAlchemyError, OSError) as error:
            self._log.warning("retention failed", error=type(error).__name__)
        else:
            self._log.info("retention", rows=dropped)
