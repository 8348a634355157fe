"""Every private name of dagster-celery and kombu that the platform uses, with its reason. Nothing else imports one.

Check these names at each upgrade of dagster-celery, Celery and kombu. Those of Dagster are in `dagster_internals`.
"""

import time
from typing import Any

# dagster-celery exports only a finished executor, whose wait for a worker has no end. An executor with another wait
# needs its class, its loop, its submission of a step and its broker options; a worker needs its app and its task.
from dagster_celery.core_execution_loop import core_celery_execution_loop
from dagster_celery.defaults import broker_transport_options
from dagster_celery.executor import CeleryExecutor
from dagster_celery.executor import _submit_task as submit_step
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_task

__all__ = [
    "CeleryExecutor",
    "broker_transport_options",
    "core_celery_execution_loop",
    "create_task",
    "make_app",
    "renew_visibility",
    "submit_step",
]


def renew_visibility(consumer: Any) -> None:
    """Restart the visibility timeout of every message that a Celery consumer holds on Redis.

    kombu has no public operation for it: a held message is redelivered once its entry in the index is too old.
    """
    qos = consumer.task_consumer.channel.qos
    if held := list(qos._delivered):
        with qos.channel.conn_or_acquire() as client:
            client.zadd(qos.unacked_index_key, dict.fromkeys(held, time.time()), xx=True)
