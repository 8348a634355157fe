"""Every private name of Dagster that the platform uses, with its reason. Nothing else imports one.

Check these names at each upgrade of Dagster. Those of dagster-celery and kombu are in `celery_internals`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
from dagster._core.definitions.instigation_logger import DispatchingLogHandler as SensorConsoleHandler
from dagster._core.execution.retries import RetryMode
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG, WILL_RETRY_TAG
from dagster._serdes import deserialize_value, unpack_value
from dagster._utils.schedules import get_smallest_cron_interval

if TYPE_CHECKING:
    from dagster._grpc.types import ExecuteStepArgs

__all__ = [
    "GRPC_INFO_TAG",
    "PRELOADED_MODULES",
    "WILL_RETRY_TAG",
    "CheckRunHealthResult",
    "RetryMode",
    "SensorConsoleHandler",
    "WorkerStatus",
    "get_smallest_cron_interval",
    "is_run_at_code_server",
    "open_graphql",
    "unpack_step_args",
]
# CheckRunHealthResult, WorkerStatus: results of `RunLauncher.check_run_worker_health`, a public method, which Dagster
# exports no types for.
# GRPC_INFO_TAG: tag with the address of the code server that started a run, as JSON: `host`, and `port` or `socket`.
# WILL_RETRY_TAG: tag of a failed run, `true` or `false`, whether the daemon retries it; set just after the failure.
# SensorConsoleHandler: the handler of a sensor's `context.log` that writes text to the console; there is no option.
# get_smallest_cron_interval: the largest lower bound that a freshness policy of a schedule accepts.
# RetryMode: an argument of dagster-celery's executor; Dagster exports neither the class nor an executor that sets it.

PRELOADED_MODULES: Final = ("dagster._core.storage.sqlite_storage", "dagster._utils.test")
"""Modules that Dagster imports when a step opens its instance, half a second each: a forkserver imports them once."""

_ASK_SECONDS: Final = 10


def is_run_at_code_server(server: Mapping[str, Any], run_id: str) -> bool | None:
    """Whether a code server executes a run; None where it cannot be reached. `server` is parsed from `GRPC_INFO_TAG`.

    The default launcher has this question for its cancellation only, without an answer for a server that is away.
    """
    from dagster._core.errors import DagsterUserCodeUnreachableError
    from dagster._grpc.client import DagsterGrpcClient  # gRPC: half a second that few processes need
    from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult

    client = DagsterGrpcClient(
        port=server.get("port"),
        socket=server.get("socket"),
        host=server["host"],
        use_ssl=bool(server.get("use_ssl", False)),
    )
    try:
        answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), timeout=_ASK_SECONDS)
    except DagsterUserCodeUnreachableError:
        return None
    return deserialize_value(answer, CanCancelExecutionResult).can_cancel


@contextmanager
def open_graphql(instance: dg.DagsterInstance, workspace: Path) -> Iterator[Callable[[str, dict[str, Any]], Any]]:
    """Dagster's GraphQL schema on the code locations of a workspace file, in this process: query, variables → data.

    Its pages' own API, without the web server, which may be read-only or require a login.

    Raises:
        RuntimeError: a query is answered with errors; the message is Dagster's.
    """
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_graphql.schema import create_schema

    schema = create_schema()
    with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])) as context:

        def execute(query: str, variables: dict[str, Any]) -> Any:
            request = context.create_request_context()
            answer = asyncio.run(schema.execute_async(query, context_value=request, variable_values=variables))
            if answer.errors:
                raise RuntimeError("; ".join(str(error) for error in answer.errors))
            return answer.data

        yield execute


def unpack_step_args(packed: Any) -> ExecuteStepArgs:
    """Arguments of a step as dagster-celery's task receives them.

    The message is the only place where a worker learns the run and the step before the step begins.
    """
    from dagster._grpc.types import ExecuteStepArgs  # gRPC: half a second that only a worker needs

    return unpack_value(packed, as_type=ExecuteStepArgs)
