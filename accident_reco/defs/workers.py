"""Jobs over partitions on Celery workers: how steps get there, and what happens when a worker dies.

A step is acknowledged when it is done, so that the broker gives the step of a dead worker to another one: at once when
only the worker's child died, after `BROKER_REDELIVERY_SECONDS` when all of it did. Steps write whole objects under keys
of their content: a step done twice leaves what it leaves when done once.
"""

from __future__ import annotations

import time
from typing import Any, Final

import dagster as dg
from celery import Celery
from celery.result import AsyncResult
from dagster._core.execution.retries import RetryMode
from dagster_celery.core_execution_loop import core_celery_execution_loop
from dagster_celery.defaults import broker_transport_options
from dagster_celery.executor import CeleryExecutor, _submit_task

from accident_reco.settings import Settings

QUEUE: Final = "dagster"
LOOK_SECONDS: Final = 2.0


class NoWorker(RuntimeError):
    """Nobody takes steps from the queue."""


def workers_executor(settings: Settings) -> dg.ExecutorDefinition:
    """The executor whose steps run on workers."""

    @dg.executor(name="workers", requirements=dg.multiple_process_executor_requirements())
    def workers(_: dg.InitExecutorContext) -> WorkersExecutor:
        return WorkersExecutor(settings)

    return workers


def celery_config(settings: Settings) -> dict[str, Any]:
    """What submitters and workers must agree on."""
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
    """A step's result that tells when nobody is there to make it."""

    def __init__(self, result: AsyncResult, app: Celery, queue: str, patience: float) -> None:
        self._result, self._app, self._queue, self._patience = result, app, queue, patience
        self._seen = self._looked = time.monotonic()

    def ready(self) -> bool:
        """Whether the step is done. Raises NoWorker when the queue has been without a worker for too long."""
        if self._result.ready():
            return True
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            if self._has_worker():
                self._seen = now
            elif now - self._seen > self._patience:
                raise NoWorker(
                    f"no worker takes steps from the queue {self._queue!r} for {self._patience:g} s; start one with "
                    "`python -m accident_reco.launch.dagster_process worker`"
                )
            self._looked = time.monotonic()
        return False

    def get(self) -> Any:
        """Events of the step; raises what the worker raised."""
        return self._result.get()

    def revoke(self) -> None:
        """Workers skip the step if they have not begun it."""
        self._result.revoke()

    def _has_worker(self) -> bool:
        queues = self._app.control.inspect(timeout=1.0).active_queues() or {}
        return any(queue["name"] == self._queue for taken in queues.values() for queue in taken)


class WorkersExecutor(CeleryExecutor):
    """dagster-celery's executor that does not wait for ever."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            retries=RetryMode.ENABLED,
            broker=settings.broker_url,
            backend=settings.broker_url,
            config_source=celery_config(settings),
        )
        self._patience = settings.broker_patience_seconds

    def execute(self, plan_context: Any, execution_plan: Any) -> Any:
        """Events of the run, as they come. Raises NoWorker."""
        return core_celery_execution_loop(plan_context, execution_plan, step_execution_fn=self._submit)

    def _submit(self, app: Celery, context: Any, step: Any, queue: str, priority: int, known: Any) -> WatchedResult:
        return WatchedResult(_submit_task(app, context, step, queue, priority, known), app, queue, self._patience)
