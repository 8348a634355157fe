"""The partitioned jobs on Celery workers, seen from a worker.

A program, like `__main__`: only `celery -A accident_reco.defs.celery_app worker` imports it.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, Final

import dagster as dg
from celery import Celery, Task, bootsteps, signals
from celery.exceptions import Ignore
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import unpack_value
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_task

from accident_reco.defs.run_logs import RunLines
from accident_reco.defs.workers import celery_config
from accident_reco.settings import Settings, variable

MOST_BEGUN: Final = 3  # a step that kills every worker it meets must not go round for ever


class DeadlyStep(RuntimeError):
    """A step that was begun several times and never ended."""


class GuardedStep(Task):
    """Looks before a step begins: is its run still on, and was it not begun too often already?"""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: dict[str, Any]) -> None:
        """Raises Ignore for a run that is over, DeadlyStep for a step that no worker survived."""
        asked = unpack_value(kwargs["execute_step_args_packed"], as_type=ExecuteStepArgs)
        with dg.DagsterInstance.from_ref(asked.instance_ref) as instance:  # type: ignore[arg-type]
            run = instance.get_run_by_id(asked.run_id)
            if run is None or run.status in FINISHED_STATUSES:
                raise Ignore
            begun = instance.get_records_for_run(asked.run_id, of_type=dg.DagsterEventType.STEP_START).records
        (step,) = asked.step_keys_to_execute or ()
        times = sum(record.event_log_entry.step_key == step for record in begun)
        if times >= MOST_BEGUN:
            raise DeadlyStep(f"{step} was begun {times} times and never ended: its workers died; is memory short?")


class SignOfLife(bootsteps.StartStopStep):
    """Redis forgets who holds a step: it gives it away when its time is up. A worker that lives renews that time."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Called at each connection to the broker; `parent` is Celery's consumer."""
        options = parent.app.conf.broker_transport_options
        self._timer = parent.timer.call_repeatedly(options["visibility_timeout"] / 4, self._renew, (parent,))

    def stop(self, parent: Any) -> None:
        """The connection is lost or the worker ends."""
        self._timer.cancel()

    def _renew(self, consumer: Any) -> None:
        qos = consumer.task_consumer.channel.qos
        if held := list(qos._delivered):
            with qos.channel.conn_or_acquire() as client:
                client.zadd(qos.unacked_index_key, dict.fromkeys(held, time.time()), xx=True)


@signals.setup_logging.connect
def log_json(loglevel: int = logging.INFO, **_: Any) -> None:
    """Celery's own lines in the shape of those that steps log; what steps write stays as they write it."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(RunLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(loglevel)


def worker_app(settings: Settings) -> Celery:
    """The application that a worker process runs. Raises ValueError where no broker is set."""
    url = settings.broker_url
    if not url:
        raise ValueError(f"{variable('broker_url')} names no broker, as in redis://:password@host:6379/0")
    made = make_app({"broker": url, "backend": url, "config_source": celery_config(settings)})
    create_task(made, base=GuardedStep)
    made.steps["consumer"].add(SignOfLife)
    return made


app = worker_app(Settings.load())
