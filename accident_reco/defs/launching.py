"""Launches runs through a code location and follows them by the events that they record.

Runs are created by Dagster's own GraphQL schema in this process, as its pages create them: they belong to the code
location, and its server executes each in a process of its own. The web server is not needed: it may be read-only, or
require a login.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import dagster as dg
import yaml

from accident_reco.contract import Step
from accident_reco.defs.dagster_internals import open_graphql
from accident_reco.defs.failures import describe_failure
from accident_reco.defs.progress import Progress, report_event
from accident_reco.defs.run_workers import LOST, is_worker_alive
from accident_reco.defs.steps import FORKED_STEPS
from accident_reco.defs.tags import LAUNCHER_TAG, MAX_RETRIES_TAG, REASON_TAG, URGENT

REPOSITORY: Final = "__repository__"
"""Dagster's name of the definitions of a location."""
READY_SECONDS: Final = 120.0
"""Limit on the start of the code server."""
WORKER_CHECK_SECONDS: Final = 5.0
"""Interval between checks that the process of a silent run lives."""
_LAUNCH: Final = """mutation($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on Error { message }
  }
}"""
_STEP_ENDS: Final = {
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_SKIPPED,
}
_RUN_ENDS: Final = {
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_CANCELED,
}
_FOLLOWED: Final = {
    *_STEP_ENDS,
    *_RUN_ENDS,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
}


class LaunchRejectedError(RuntimeError):
    """Dagster did not accept a run; the message is its own."""


Launch = Callable[[str, Mapping[str, str], Mapping[str, Any]], str]
"""Launches a job with tags and run configuration; returns the run's id."""


@contextmanager
def open_location(instance: dg.DagsterInstance, workspace: Path) -> Iterator[Launch]:
    """Wait for the code server of a workspace file, then launch its jobs.

    Raises:
        TimeoutError: the server does not listen within `READY_SECONDS`.
    """
    server = yaml.safe_load(workspace.read_text(encoding="utf-8"))["load_from"][0]["grpc_server"]
    _await_server(server["host"], server["port"])
    with open_graphql(instance, workspace) as execute:

        def launch(job: str, tags: Mapping[str, str], config: Mapping[str, Any]) -> str:
            selector = {
                "repositoryLocationName": server["location_name"],
                "repositoryName": REPOSITORY,
                "jobName": job,
            }
            parameters = {
                "selector": selector,
                "runConfigData": config,
                "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
            }
            found = execute(_LAUNCH, {"parameters": parameters})["launchRun"]
            if found["__typename"] != "LaunchRunSuccess":
                messages = [error["message"] for error in found.get("errors", [])]
                raise LaunchRejectedError(
                    f"{job}: {found.get('message') or '; '.join(messages) or found['__typename']}"
                )
            return str(found["run"]["runId"])

        yield launch


def _await_server(host: str, port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the code server does not listen on {host}:{port}") from None
            time.sleep(0.05)


def range_tags(step: Step) -> dict[str, str]:
    """Dagster's tags for a range of partitions in a single run."""
    if step.first is None or step.last is None:
        return {}
    return {"dagster/asset_partition_range_start": step.first, "dagster/asset_partition_range_end": step.last}


def in_process_config(job: dg.JobDefinition) -> dict[str, Any]:
    """Run configuration with which all steps run in the run's own process, where the job's executor has the choice.

    A process that executes the steps of one run after the other needs no further process that imports everything again.
    """
    return {"execution": {"config": {"in_process": {}}}} if job.executor_def.name == FORKED_STEPS.name else {}


def describe_step(step: Step) -> str:
    """Job and partitions of a step."""
    if step.first is None:
        return step.job
    return f"{step.job} {step.first}" if step.last in (None, step.first) else f"{step.job} {step.first}-{step.last}"


class FollowedRun:
    """A launched run whose events are reported as they are recorded.

    Args:
        title: job and partitions.
        steps: number of its steps.
    """

    def __init__(self, instance: dg.DagsterInstance, run_id: str, title: str, steps: int, progress: Progress) -> None:
        self._instance, self._run_id, self._title, self._progress = instance, run_id, title, progress
        self._bar = progress.begin(title, steps)
        self._cursor: str | None = None
        self._started = self._checked = time.monotonic()

    def is_finished(self) -> bool:
        """Report what has been recorded since the last call; whether the run has ended.

        Raises:
            RuntimeError: it failed, was canceled, or its process is gone; the message is the cause.
        """
        while True:
            found = self._instance.get_records_for_run(self._run_id, cursor=self._cursor, of_type=_FOLLOWED)
            self._cursor = found.cursor
            for record in found.records:
                event = record.event_log_entry.get_dagster_event()
                if event.event_type in _STEP_ENDS:
                    self._bar.advance()
                elif event.event_type in _RUN_ENDS:
                    self._end(event.event_type)
                    return True
                else:
                    report_event(event, self._progress)
            if not found.has_more:
                break
        self._require_worker()
        return False

    def _end(self, kind: dg.DagsterEventType) -> None:
        self._bar.close()
        if kind != dg.DagsterEventType.RUN_SUCCESS:
            reason = describe_failure(self._instance, self._run_id, limit=None)
            raise RuntimeError(f"{self._title}: {reason or 'the run failed'}")
        self._progress.line(f"✔ {self._title} in {time.monotonic() - self._started:.1f} s")

    def _require_worker(self) -> None:
        """Report the run as failed if its process is gone, as the daemon's run monitoring does."""
        now = time.monotonic()
        if now - self._checked < WORKER_CHECK_SECONDS:
            return
        self._checked = now
        run = self._instance.get_run_by_id(self._run_id)
        if run is None or (not run.is_finished and is_worker_alive(self._instance, run) is False):
            if run is not None:
                self._instance.report_run_failed(run, LOST)
            self._bar.close()
            raise RuntimeError(f"{self._title}: {LOST}")


class Launcher:
    """Launches steps and follows them.

    Args:
        definitions: those of the code location, for the executor and the number of steps of a job.
        launched_by: who launches, as Dagster's pages show it.
        queued: whether a running daemon starts the runs from its queue; otherwise they start at once, without a daemon.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        definitions: dg.Definitions,
        launch: Launch,
        launched_by: str,
        queued: bool,
        progress: Progress,
    ) -> None:
        self._instance, self._definitions, self._launch = instance, definitions, launch
        self._common = {LAUNCHER_TAG: launched_by, **({} if queued else URGENT)}
        self._progress = progress

    def start(self, step: Step) -> FollowedRun:
        """Launch a step.

        Raises:
            LaunchRejectedError: Dagster did not accept it.
        """
        title = describe_step(step)
        self._progress.line(f"▶ {title}: {step.why}")
        job = self._definitions.resolve_job_def(step.job)
        # The daemon would retry a run whose process died beside the next start, which launches what is missing anyway.
        tags = {**self._common, REASON_TAG: step.why, MAX_RETRIES_TAG: "0", **range_tags(step)}
        run_id = self._launch(step.job, tags, in_process_config(job))
        return FollowedRun(self._instance, run_id, title, len(job.nodes), self._progress)
