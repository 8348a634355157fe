"""Logs trainings to MLflow through dagster-mlflow. An unreachable or hanging tracker never stops a training.

The run is then spooled in the home and sent with the next one that succeeds. A tracker on another machine is called in
a process of its own that is stopped at the end of the time budget (`tracking_seconds`).
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import dagster as dg

from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bounded_call import call_within
from accident_reco.lifecycle.gate import Decision
from accident_reco.lifecycle.store import Pointer
from accident_reco.lifecycle.tracking import (
    RejectedRun,
    SpoolReport,
    TrackedRun,
    answers,
    failure_record,
    find_or_create_run,
    gate_record,
    is_local,
    is_waiting,
    joined_run_waits,
    log_alone,
    log_run,
    mark_failed,
    move_aliases,
    prepare_experiment,
    reachable,
    send_spooled,
    set_aside,
    spool,
)
from accident_reco.lifecycle.tracking_home import ARTIFACTS
from accident_reco.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")
Logging = dg.AssetExecutionContext | dg.OpExecutionContext | dg.HookContext
_BACKLOG_SHARE = 0.5
"""Share of the time budget after which no further spooled run is started, so that the last one ends in time."""


def track(context: dg.AssetExecutionContext, platform: Platform, run: TrackedRun) -> str | None:
    """Log a finished training; returns the id of its MLflow run, or None if it had to be spooled."""
    settings, waiting, began = platform.settings, spool_directory(platform), time.monotonic()
    try:
        _require_port(settings.tracking_uri)
        run_id = _log(context, platform, run)
    except Exception as error:  # whatever the tracker raises, a trained model must not be lost
        _spool_or_reject(context, platform, run, error)
        return None
    if is_waiting(waiting):
        left = _seconds_left(settings, began)
        try:
            _log_report(context, _call(settings, left, send_waiting, settings.tracking_uri, settings.home, left))
        except Exception as error:  # this run is logged; earlier ones stay in the spool
            context.log.warning("MLflow at %s: %s; earlier runs stay in %s", settings.tracking_uri, error, waiting)
    return run_id


def track_search(context: dg.AssetExecutionContext, platform: Platform, runs: Sequence[TrackedRun]) -> None:
    """Log the runs of a parameter search, each parent before its children. What cannot be logged is spooled."""
    settings = platform.settings
    left = _seconds_left(settings, time.monotonic())
    try:
        _require_port(settings.tracking_uri)
        _call(settings, left, log_records, settings.tracking_uri, settings.home, runs)
    except Exception as error:  # as in `track`; runs that were logged are found by their keys and not repeated
        for run in runs:
            place = spool(spool_directory(platform), run)
        context.log.warning(
            "MLflow at %s: %s; %d runs are spooled in %s", settings.tracking_uri, error, len(runs), place.parent
        )


def record_decision(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    platform: Platform,
    model: str,
    version: str,
    decision: Decision,
    pointer: Pointer | None = None,
) -> None:
    """Add the gate's decision to the version's run, and let the registry's aliases follow the pointer.

    If the tracker is unreachable, the decision is spooled behind the run. Aliases that could not follow the pointer are
    only logged: serving does not depend on the registry.
    """
    settings, record = platform.settings, gate_record(model, version, decision)
    left = _seconds_left(settings, time.monotonic())
    aliases = (pointer.version, pointer.previous) if pointer else None
    try:
        _require_port(settings.tracking_uri)
        report, moved = _call(settings, left, log_decision, settings.tracking_uri, settings.home, record, aliases, left)
    except Exception as error:  # as in `track`
        _spool_or_reject(context, platform, record, error)
        return
    _log_report(context, report)
    if pointer:
        context.log.info("MLflow aliases of %s: %s", model, moved)


def build_failure_hook(model: str) -> dg.HookDefinition:
    """A hook of a training's job: a failed step, also one that a blocking check stopped, becomes an MLflow run of
    status FAILED with the reason. A step whose process is killed runs no hook.
    """

    @dg.failure_hook(name="track_failure", required_resource_keys={"platform"})
    def track_failure(context: dg.HookContext) -> None:
        platform: Platform = context.resources.platform
        settings, error = platform.settings, context.op_exception
        reason = " ".join(str(error).split()) or type(error).__name__
        record = failure_record(model, context.job_name, context.run_id, context.step_key, reason)
        left = _seconds_left(settings, time.monotonic())
        try:
            _require_port(settings.tracking_uri)
            _call(settings, left, log_record, settings.tracking_uri, settings.home, record)
        except Exception as problem:  # the failure of the training is what counts
            _spool_or_reject(context, platform, record, problem)

    return track_failure


def log_record(uri: str, home: Path, record: TrackedRun) -> str:
    """Log a run outside of a training's own; returns its MLflow id. Raises as `log_run`."""
    prepare_experiment(uri, record.experiment, home / ARTIFACTS)
    return log_alone(uri, record)


def log_records(uri: str, home: Path, records: Sequence[TrackedRun]) -> None:
    """Log runs in order. Raises as `log_run`, at the first one that fails."""
    for record in records:
        log_record(uri, home, record)


def spool_directory(platform: Platform) -> Path:
    """Folder of spooled runs."""
    return _spool_below(platform.settings.home)


def log_training(uri: str, home: Path, run: TrackedRun, job: str, dagster_run_id: str) -> str:
    """Log a run through dagster-mlflow and return its MLflow id. A failed attempt is marked FAILED and completed later.

    Raises as `log_run`.
    """
    import mlflow
    from dagster_mlflow import mlflow_tracking

    experiment = prepare_experiment(uri, run.experiment, home / ARTIFACTS)
    run_id = find_or_create_run(uri, experiment, run, {"dagster_run_id": dagster_run_id})
    config = {
        "experiment_name": run.experiment,
        "mlflow_tracking_uri": uri,
        "mlflow_run_id": run_id,
        "env": {},
        "extra_tags": {},
    }
    dagster_run = dg.DagsterRun(job_name=job, run_id=dagster_run_id)
    try:
        with dg.build_resources(
            {"mlflow": mlflow_tracking}, resource_config={"mlflow": {"config": config}}, dagster_run=dagster_run
        ):
            log_run(uri, run_id, run)
        mlflow.end_run()
    except Exception:
        mark_failed(uri, run_id)
        raise
    finally:
        mlflow.end_run("FAILED")  # no effect where it has ended
    return run_id


def send_waiting(uri: str, home: Path, seconds: float) -> SpoolReport:
    """Send spooled runs; no run is started after a share of `seconds`."""

    def send(run: TrackedRun) -> None:
        log_record(uri, home, run)

    deadline = time.monotonic() + _BACKLOG_SHARE * seconds
    return send_spooled(_spool_below(home), send, lambda: answers(uri), deadline)


def log_decision(
    uri: str, home: Path, record: TrackedRun, aliases: tuple[str, str | None] | None, seconds: float
) -> tuple[SpoolReport, dict[str, str] | str]:
    """Log a decision, after its run where that is still spooled, and move the aliases to (champion, previous).

    Returns what was sent of the spool, and the aliases set or why they could not be moved.
    """
    report = SpoolReport()
    moved: dict[str, str] | str = {}
    behind = joined_run_waits(_spool_below(home), record)
    if behind:
        spool(_spool_below(home), record)
        report = send_waiting(uri, home, seconds)
    if aliases:
        try:
            moved = move_aliases(uri, record.experiment, *aliases)
        except Exception as error:
            moved = f"not moved: {error}"
    if not behind:
        log_record(uri, home, record)
    return report, moved


def _log(context: dg.AssetExecutionContext, platform: Platform, run: TrackedRun) -> str:
    settings, dagster_run = platform.settings, context.run
    return _call(
        settings,
        _seconds_left(settings, time.monotonic()),
        log_training,
        settings.tracking_uri,
        settings.home,
        run,
        dagster_run.job_name,
        dagster_run.run_id,
    )


def _call(settings: Settings, seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The function's result, within `seconds` unless the tracker is a local file."""
    if is_local(settings.tracking_uri):
        return function(*args, **kwargs)
    # A request that hangs ends with its own error before the process is killed.
    timeout = max(1, int(settings.tracking_seconds / 3))
    environ = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    return call_within(seconds, environ, function, *args, **kwargs)


def _seconds_left(settings: Settings, began: float) -> float:
    """Seconds left of the time budget; infinite for a local tracker."""
    if is_local(settings.tracking_uri):
        return math.inf
    return settings.tracking_seconds - (time.monotonic() - began)


def _require_port(uri: str) -> None:
    if not reachable(uri):
        raise ConnectionError(f"{uri} does not answer")


def _spool_or_reject(context: Logging, platform: Platform, run: TrackedRun, error: Exception) -> None:
    """Spool a run that could not be logged; one that the tracker rejects is set aside."""
    place = spool(spool_directory(platform), run)
    if isinstance(error, RejectedRun):
        set_aside(place, str(error))
        _log_report(context, SpoolReport(rejected={str(place): str(error)}))
    else:
        context.log.warning(
            "MLflow at %s: %s; %s is spooled in %s", platform.settings.tracking_uri, error, run.name, place
        )


def _log_report(context: Logging, report: SpoolReport) -> None:
    if report.sent:
        context.log.info("sent %d spooled runs to MLflow", report.sent)
    for place, reason in report.rejected.items():
        context.log.warning("MLflow rejects the run in %s; it is kept and not sent again: %s", place, reason)


def _spool_below(home: Path) -> Path:
    return home / "spool" / "mlflow"
