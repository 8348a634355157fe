"""The Celery application of a worker process, which executes steps of the partitioned jobs.

A program, like `__main__`: only `celery -A accident_reco.defs.celery_app worker` imports it.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import dagster as dg
from celery import Celery, Task, bootsteps, signals
from celery.exceptions import Ignore

from accident_reco.defs.celery_internals import create_task, make_app, renew_visibility
from accident_reco.defs.dagster_internals import unpack_step_args
from accident_reco.defs.run_logs import JsonRunFormatter
from accident_reco.defs.workers import celery_config
from accident_reco.settings import Settings, variable

MAX_ATTEMPTS: Final = 3
"""Starts of one step: a step that kills every worker that executes it must not be redelivered without end."""


class PoisonStep(RuntimeError):
    """A step was started `MAX_ATTEMPTS` times and never finished."""


class GuardedStep(Task):
    """dagster-celery's task, with a check of the run and of the step's attempts before it starts."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: dict[str, Any]) -> None:
        """Check the step before it starts.

        Raises:
            Ignore: the run is finished or deleted.
            PoisonStep: no worker survived the step.
        """
        step = unpack_step_args(kwargs["execute_step_args_packed"])
        with dg.DagsterInstance.from_ref(step.instance_ref) as instance:  # type: ignore[arg-type]
            run = instance.get_run_by_id(step.run_id)
            if run is None or run.is_finished:
                raise Ignore
            starts = instance.get_records_for_run(step.run_id, of_type=dg.DagsterEventType.STEP_START).records
        (key,) = step.step_keys_to_execute or ()
        attempts = sum(record.event_log_entry.step_key == key for record in starts)
        if attempts >= MAX_ATTEMPTS:
            raise PoisonStep(f"{key} was started {attempts} times and never finished: its workers died; out of memory?")


class VisibilityHeartbeat(bootsteps.StartStopStep):
    """Renews the visibility timeout of the steps that a live worker holds.

    Redis does not know who holds a message: without renewal it redelivers a long step to a second worker.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Called at each connection to the broker; `parent` is Celery's consumer."""
        timeout = parent.app.conf.broker_transport_options["visibility_timeout"]
        self._timer = parent.timer.call_repeatedly(timeout / 4, renew_visibility, (parent,))

    def stop(self, parent: Any) -> None:
        """Called when the connection is lost or the worker ends."""
        self._timer.cancel()


@signals.setup_logging.connect
def log_json(loglevel: int = logging.INFO, **_: Any) -> None:
    """Log Celery's own records in the format of those that steps log."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonRunFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(loglevel)


def build_worker_app(settings: Settings) -> Celery:
    """The application that a worker process runs.

    Raises:
        ValueError: no broker is set.
    """
    url = settings.broker_url
    if not url:
        raise ValueError(f"{variable('broker_url')} is not set; fix: redis://:password@host:6379/0")
    built = make_app({"broker": url, "backend": url, "config_source": celery_config(settings)})
    create_task(built, base=GuardedStep)
    built.steps["consumer"].add(VisibilityHeartbeat)
    return built


app = build_worker_app(Settings.load())
