"""MLflow through dagster-mlflow, for every training asset. A tracker that is away never stops a training: the run is
spooled below the home and sent with the next one that gets through.
"""

from pathlib import Path

import dagster as dg

from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.gate import Decision
from accident_reco.lifecycle.store import Pointer
from accident_reco.lifecycle.tracking import (
    TrackedRun,
    gate_record,
    log_alone,
    log_run,
    move_aliases,
    prepare_experiment,
    reachable,
    send_spooled,
    spool,
)


def track(context: dg.AssetExecutionContext, platform: Platform, run: TrackedRun) -> str | None:
    """Log a finished training in the MLflow run of this Dagster run; its id, or None when it had to be spooled."""
    uri, waiting = platform.settings.tracking_uri, spool_directory(platform)
    try:
        if not reachable(uri):
            raise ConnectionError(f"{uri} does not answer")
        run_id = _log(context, platform, run)
        sent = send_spooled(waiting, lambda old: _log_alone(platform, old))
        if sent:
            context.log.info("sent %d spooled runs to MLflow", sent)
    except Exception as error:  # the tracker's own errors are many; none of them may cost a trained model
        place = spool(waiting, run)
        context.log.warning("MLflow at %s: %s; the run waits in %s", uri, error, place)
        return None
    return run_id


def record_decision(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    platform: Platform,
    model: str,
    version: str,
    decision: Decision,
) -> None:
    """Add what the gate said to the version's run; with the tracker away it waits in the spool, behind the run."""
    uri, record = platform.settings.tracking_uri, gate_record(model, version, decision)
    try:
        if not reachable(uri):
            raise ConnectionError(f"{uri} does not answer")
        _log_alone(platform, record)
    except Exception as error:  # as in `track`
        place = spool(spool_directory(platform), record)
        context.log.warning("MLflow at %s: %s; the gate's decision waits in %s", uri, error, place)


def follow_pointer(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, platform: Platform, model: str, pointer: Pointer
) -> None:
    """Let the registry's aliases name what the pointer names. The pointer counts: failing here is only told."""
    uri = platform.settings.tracking_uri
    try:
        if not reachable(uri):
            raise ConnectionError(f"{uri} does not answer")
        done = move_aliases(uri, model, pointer.version, pointer.previous)
    except Exception as error:  # as above: serving does not depend on the registry
        context.log.warning("MLflow aliases of %s stay behind the pointer: %s", model, error)
        return
    context.log.info("MLflow aliases of %s: %s", model, done)


def spool_directory(platform: Platform) -> Path:
    """Where runs wait for the tracker."""
    return platform.settings.home / "spool" / "mlflow"


def _log(context: dg.AssetExecutionContext, platform: Platform, run: TrackedRun) -> str:
    import mlflow
    from dagster_mlflow import mlflow_tracking

    settings = platform.settings
    prepare_experiment(settings.tracking_uri, run.experiment, settings.home / "mlartifacts")
    config = {
        "experiment_name": run.experiment, "mlflow_tracking_uri": settings.tracking_uri, "env": {},
        "extra_tags": dict(run.tags),
    }  # fmt: skip
    with dg.build_resources(
        {"mlflow": mlflow_tracking}, context.instance, {"mlflow": {"config": config}}, context.run
    ) as resources:
        run_id: str = resources.mlflow.mlflow_run_id or mlflow.active_run().info.run_id
        try:
            log_run(settings.tracking_uri, run_id, run)
        finally:
            mlflow.end_run()
    return run_id


def _log_alone(platform: Platform, run: TrackedRun) -> None:
    settings = platform.settings
    prepare_experiment(settings.tracking_uri, run.experiment, settings.home / "mlartifacts")
    log_alone(settings.tracking_uri, run)
