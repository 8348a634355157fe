"""The prediction log: a bounded queue and one writing thread. Never delays an answer; what it drops it counts."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from accident_reco.storage import prediction_log
from accident_reco.storage.warehouse import Warehouse
from serving.common import logs
from serving.common.metrics import Metrics

# Rows of one transaction: large enough to be cheap, short enough to let others write.
BATCH_ROWS: Final = 1000
# How long rows may wait for company.
LINGER_SECONDS: Final = 0.5
TRIES: Final = 5
FLUSH_SECONDS: Final = 4.0
RETENTION_EVERY_SECONDS: Final = 3600.0


def new_id() -> str:
    """An id of a call, 28 characters. Begins with its time: random ones would each touch a page of the log's key."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"


@dataclass(frozen=True, slots=True)
class Call:
    """One answered (or refused) call, with a row per road user or user."""

    model: str
    version: str | None
    request_id: str
    user_name: str
    source: str
    status: int
    latency_ms: float
    ids: Sequence[str]
    inputs: Sequence[Mapping[str, Any]]
    scores: Sequence[float | None]
    answers: Sequence[Any]
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def rows(self) -> list[dict[str, Any]]:
        """Rows of the log."""
        common = {
            "request_id": self.request_id, "at": self.at, "model": self.model, "version": self.version,
            "user_name": self.user_name, "source": self.source, "status": self.status,
            "latency_ms": round(self.latency_ms, 3),
        }  # fmt: skip
        return [
            {**common, "id": id_, "inputs": inputs, "score": score, "answer": answer}
            for id_, inputs, score, answer in zip(self.ids, self.inputs, self.scores, self.answers, strict=True)
        ]


class PredictionLog:
    """Takes calls from the event loop, writes them from its own thread."""

    def __init__(
        self, warehouse: Warehouse, metrics: Metrics, *, queue_rows: int, retention_days: int, enabled: bool = True
    ) -> None:
        self._warehouse = warehouse
        self._most = queue_rows
        self._retention = timedelta(days=retention_days)
        self._enabled = enabled
        self._calls: deque[Call] = deque()
        self._waiting = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._log = logs.get("prediction-log")
        self._queued = metrics.gauge("prediction_log_queue_rows", "Rows that wait to be logged")
        self._written = metrics.counter("prediction_log_rows", "Rows logged")
        self._dropped = metrics.counter(
            "prediction_log_dropped_rows", "Rows not logged: the queue was full, or writing failed", ("reason",)
        )
        for reason in ("full", "failed"):
            self._dropped.labels(reason)

    @property
    def room(self) -> int:
        """Rows that the queue can still take."""
        return self._most - self._waiting

    def enqueue(self, call: Call) -> None:
        """Queue a call, or drop and count it when the queue is full. Never blocks, never raises."""
        if not self._enabled:
            return
        n = len(call.ids)
        with self._lock:
            if self._waiting + n > self._most:
                self._dropped.labels("full").inc(n)
                return
            self._calls.append(call)
            self._waiting += n

    def start(self) -> None:
        """Begin to write."""
        if self._enabled:
            self._thread = threading.Thread(target=self._write, name="prediction-log", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Write what is queued, for at most some seconds, then end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=FLUSH_SECONDS + 1)
            with self._lock:
                left, self._waiting = self._waiting, 0
                self._calls.clear()
            if left:
                self._dropped.labels("failed").inc(left)
                self._log.error("rows lost at shutdown", rows=left)

    def _write(self) -> None:
        retention_due = time.monotonic() + 60.0
        while not self._stop.wait(LINGER_SECONDS):
            self._drain(lambda: True)
            if time.monotonic() >= retention_due:
                retention_due = time.monotonic() + RETENTION_EVERY_SECONDS
                self._forget_old()
        deadline = time.monotonic() + FLUSH_SECONDS
        self._drain(lambda: time.monotonic() < deadline)

    def _drain(self, go_on: Any) -> None:
        while go_on():
            rows = self._take()
            if not rows:
                break
            self._insert(rows)
        self._queued.set(self._waiting)

    def _take(self) -> list[dict[str, Any]]:
        taken: list[Call] = []
        n = 0
        with self._lock:
            while self._calls and n < BATCH_ROWS:
                call = self._calls.popleft()
                taken.append(call)
                n += len(call.ids)
            self._waiting -= n
        return [row for call in taken for row in call.rows()]

    def _insert(self, rows: list[dict[str, Any]]) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                prediction_log.insert_predictions(self._warehouse, rows)
            except (SQLAlchemyError, OSError) as error:
                self._log.warning("rows not logged yet", rows=len(rows), attempt=attempt, error=type(error).__name__)
                if self._stop.wait(0.0 if attempt == TRIES else min(0.1 * 2**attempt, 2.0)) and attempt > 1:
                    break
            else:
                self._written.inc(len(rows))
                return
        self._dropped.labels("failed").inc(len(rows))
        self._log.error("rows dropped", rows=len(rows))

    def _forget_old(self) -> None:
        try:
            dropped = prediction_log.delete_older_than(self._warehouse, self._retention)
        except (SQLAlchemyError, OSError) as error:
            self._log.warning("retention failed", error=type(error).__name__)
        else:
            self._log.info("retention", rows=dropped)


def log_refusals(context: Any, routes: Mapping[str, str]) -> Any:
    """Returns what logs calls that were refused or failed: who called, when, with which status; not the invalid input.

    Args:
        routes: path of each endpoint that answers predictions → its model.
    """

    def answered(scope: Mapping[str, Any], route: str, status: int, seconds: float) -> None:
        subject = scope["state"].get("subject")
        model = routes.get(route)
        if model is None and route.endswith("/infer"):
            named = scope["path_params"]["model"]
            model = named if named in context.slots else None
        # A caller that was not authenticated has no name, and nothing of the call is kept.
        if status < 400 or model is None or subject is None:
            return
        current = context.slots[model].current
        source = {"csv": "csv", "infer": "v2"}.get(route.rpartition("/")[2], "json")
        context.log.enqueue(
            Call(
                model=model,
                version=current.version if current is not None else None,
                request_id=scope["state"]["request_id"],
                user_name=subject,
                source=source,
                status=status,
                latency_ms=seconds * 1000,
                ids=[new_id()],
                inputs=[{}],
                scores=[None],
                answers=[None],
            )
        )

    return answered
