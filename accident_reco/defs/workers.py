"""Executor of partitioned jobs on Celery workers: how steps are submitted, and what happens when a worker dies.

A step is acknowledged when it is done, so that the broker redelivers the step of a dead worker: at once when only the
worker's child died, after `BROKER_REDELIVERY_SECONDS` when the whole worker did. Steps write whole objects under keys
of their content: executing a step twice leaves the same objects as once.
"""

from __future__ import annotations

import time
from typing import Any, Final

import dagster as dg
from celery import Celery
from celery.result import AsyncResult

from accident_reco.defs.celery_internals import (
    CeleryExecutor,
    broker_transport_options,
    core_celery_execution_loop,
    submit_step,
)
from accident_reco.defs.dagster_internals import RetryMode
from accident_reco.settings import Settings

QUEUE: Final = "dagster"
WORKER_CHECK_SECONDS: Final = 2.0
"""Interval between checks that the queue has a worker."""


class NoWorkerError(RuntimeError):
    """No worker consumes the queue."""


def build_workers_executor(settings: Settings) -> dg.ExecutorDefinition:
    """The executor whose steps run on workers."""

    @dg.executor(name="workers", requirements=dg.multiple_process_executor_requirements())
    def workers(_: dg.InitExecutorContext) -> WorkersExecutor:
        return WorkersExecutor(settings)

    return workers


def celery_config(settings: Settings) -> dict[str, Any]:
    """Celery settings, the same for those who submit steps and for workers."""
    redelivery = settings.broker_redelivery_seconds
    return {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_deduplicate_successful_tasks": True,
        "worker_prefetch_multiplier": 1,
        "task_default_queue": QUEUE,
        "task_default_priority": 5,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            **broker_transport_options,
            "visibility_timeout": redelivery,
            "unacked_restore_interval": min(10.0, redelivery / 5),
            "unacked_restore_throttle": 1,
        },
    }


class WatchedResult:
    """Result of a submitted step that fails when its queue stays without a worker for `patience` seconds."""

    def __init__(self, result: AsyncResult, app: Celery, queue: str, patience: float) -> None:
        self._result, self._app, self._queue, self._patience = result, app, queue, patience
        self._worker_seen = self._checked = time.monotonic()

    def ready(self) -> bool:
        """Whether the step is done.

        Raises:
            NoWorkerError: the queue has been without a worker for too long.
        """
        if self._result.ready():
            return True
        now = time.monotonic()
        if now - self._checked >= WORKER_CHECK_SECONDS:
            if self._has_worker():
                self._worker_seen = now
            elif now - self._worker_seen > self._patience:
                raise NoWorkerError(
                    f"the queue {self._queue!r} has had no worker for {self._patience:g} s; fix: "
                    "`python -m accident_reco.launch.dagster_process worker`"
                )
            self._checked = time.monotonic()
        return False

    def get(self) -> Any:
        """Events of the step; raises the worker's error."""
        return self._result.get()

    def revoke(self) -> None:
        """Let workers skip the step if it has not started."""
        self._result.revoke()

    def _has_worker(self) -> bool:
        consumed = self._app.control.inspect(timeout=1.0).active_queues() or {}
        return any(queue["name"] == self._queue for queues in consumed.values() for queue in queues)


class WorkersExecutor(CeleryExecutor):
    """dagster-celery's executor with a limit on the wait for a worker."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            retries=RetryMode.ENABLED,
            broker=settings.broker_url,
            backend=settings.broker_url,
            config_source=celery_config(settings),
        )
        self._patience = settings.broker_patience_seconds

    def execute(self, plan_context: Any, execution_plan: Any) -> Any:
        """Events of the run, as they arrive.

        Raises:
            NoWorkerError: no worker consumes the queue.
        """
        return core_celery_execution_loop(plan_context, execution_plan, step_execution_fn=self._submit)

    def _submit(self, app: Celery, context: Any, step: Any, queue: str, priority: int, known: Any) -> WatchedResult:
        return WatchedResult(submit_step(app, context, step, queue, priority, known), app, queue, self._patience)
