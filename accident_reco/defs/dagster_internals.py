"""Every private name of Dagster that the platform uses, with its reason. Nothing else imports one.

Check these names at each upgrade of Dagster. Those of dagster-celery and kombu are in `celery_internals`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dagster._core.execution.retries import RetryMode
from dagster._serdes import unpack_value

if TYPE_CHECKING:
    from dagster._grpc.types import ExecuteStepArgs

__all__ = ["PRELOADED_MODULES", "RetryMode", "unpack_step_args"]
# RetryMode: an argument of dagster-celery's executor; Dagster exports neither the class nor an executor that sets it.

PRELOADED_MODULES: Final = ("dagster._core.storage.sqlite_storage", "dagster._utils.test")
"""Modules that Dagster imports when a step opens its instance, half a second each: a forkserver imports them once."""


def unpack_step_args(packed: Any) -> ExecuteStepArgs:
    """Arguments of a step as dagster-celery's task receives them.

    The message is the only place where a worker learns the run and the step before the step begins.
    """
    from dagster._grpc.types import ExecuteStepArgs  # gRPC: half a second that only a worker needs

    return unpack_value(packed, as_type=ExecuteStepArgs)
