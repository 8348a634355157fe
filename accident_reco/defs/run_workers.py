"""Whether the process of a run lives, and the end of runs whose process is gone.

A run that was killed together with Dagster stays STARTED for ever, and holds one of the queue's slots. The launcher of
`run_launcher` checks it for the daemon's run monitoring, and the pipeline at each start of the platform. The monitoring
checks no run that is STARTING: a sensor does.
"""

from __future__ import annotations

import json
from typing import Final

import dagster as dg
import psutil

from accident_reco.defs.dagster_internals import GRPC_INFO_TAG, is_run_at_code_server

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
LOST: Final = "the process of this run is gone: it was killed, with the platform or alone"
CHECK_SECONDS: Final = 120
"""Interval of the sensor. Only a restart of the code server gives it work, and its first tick comes at once."""
_CLOCK_SECONDS: Final = 2.0
"""Largest difference between the clock of the event log and the start time of a process."""


def is_worker_alive(
    instance: dg.DagsterInstance, run: dg.DagsterRun, *, untagged_is_local: bool = False
) -> bool | None:
    """Whether the process that executes a run lives; None where that cannot be determined.

    On this machine by its process id. A run of a code server elsewhere (another container) is one of its child
    processes, and the server reports whether it executes it; while it is unreachable, nothing is known, and no retry
    could start.

    Args:
        untagged_is_local: whether a run without a code server, such as one of `make pipeline`, counts as started here.
    """
    tag = run.tags.get(GRPC_INFO_TAG)
    server = json.loads(tag) if tag else {}
    if not server and not untagged_is_local:
        return None
    if server.get("host", "localhost") not in LOOPBACK:
        return is_run_at_code_server(server, run.run_id)
    found = _find_process(instance, run.run_id)
    return None if found is None else _is_process(*found)


def fail_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report every run of this machine that has started without a process as failed; returns their ids.

    Dagster's daemon retries them as it retries any run whose process died.
    """
    lost = []
    statuses = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING]
    for run in instance.get_runs(dg.RunsFilter(statuses=statuses)):
        if is_worker_alive(instance, run, untagged_is_local=True) is False:
            instance.report_run_failed(run, LOST)
            lost.append(run.run_id)
    return lost


def fail_lost_starts(instance: dg.DagsterInstance, server_start: float) -> list[str]:
    """Report every run as failed that was STARTING when its code server was killed; returns their ids.

    Only the server that launches a run can start its process: one that was launched before this server started, and
    has no process, never gets one. Runs that no code server starts, such as those of Kubernetes, are left alone.

    Args:
        server_start: when this code server's process started, in seconds UTC.
    """
    lost = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])):
        run = record.dagster_run
        launched = record.update_timestamp.timestamp()
        if GRPC_INFO_TAG in run.tags and launched < server_start and not is_worker_alive(instance, run):
            instance.report_run_failed(run, LOST)
            lost.append(run.run_id)
    return lost


def definitions() -> dg.Definitions:
    """The sensor that fails lost starts."""

    @dg.sensor(
        name="lost_starts",
        minimum_interval_seconds=CHECK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Fails runs that were starting when the code server was killed, so that their retry starts.",
    )
    def lost_starts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        """Sensors are evaluated in the process of the code server."""
        lost = fail_lost_starts(context.instance, psutil.Process().create_time())
        return dg.SkipReason(f"failed {', '.join(lost)}" if lost else "no run was lost")

    return dg.Definitions(sensors=[lost_starts])


def _find_process(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """Process id of a run and the time at which it was recorded (seconds UTC); None before."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records
    for record in records:
        event = record.event_log_entry.get_dagster_event()
        pid = event.engine_event_data.metadata.get("pid")
        if pid is not None:
            return int(str(pid.value)), record.event_log_entry.timestamp
    return None


def _is_process(pid: int, recorded: float) -> bool:
    """Whether the process lives: the id may have been given to a later process."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.create_time() <= recorded + _CLOCK_SECONDS
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
