"""Sensors of the closed loop: they find triggers, apply the retrain policy, and turn queued requests into runs.

Two stages: reports, new data and alerts become at most one queued request each (`evaluate_trigger`); one sensor per
model alone starts runs, with run keys of the requests. A tick that is killed at any point leads to the same requests
and runs when it is repeated.
"""

import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from accident_reco.defs.dagster_internals import WILL_RETRY_TAG
from accident_reco.defs.drift_report import report_key
from accident_reco.defs.failures import describe_failure
from accident_reco.defs.resources import Platform
from accident_reco.defs.run_logs import sensor_log
from accident_reco.defs.tags import REASON_TAG, REQUEST_TAG, SOURCE_TAG
from accident_reco.defs.training_loop import training_job
from accident_reco.drift.notify import notify
from accident_reco.drift.triggers import build_alert_trigger, build_report_trigger, find_new_data_trigger
from accident_reco.lifecycle.promotion import sweep
from accident_reco.lifecycle.retrain_policy import MANUAL_SOURCES, RetrainPolicy, Source
from accident_reco.lifecycle.retrain_requests import Trigger, TriggerOutcome, evaluate_trigger
from accident_reco.lifecycle.training_identity import describe_repetition
from accident_reco.registry import get_model
from accident_reco.settings import Settings
from accident_reco.storage import drift_reports
from accident_reco.storage.lifecycle import began_rollout, decision_of_run
from accident_reco.storage.work_requests import advance_request, open_requests

EVENTS_PER_PAGE = 50
RETRY_SECONDS = 600.0
"""Longest wait for the retry of a failed run: later, the daemon has not been able to start it."""
IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def _apply_policy(
    context: dg.SensorEvaluationContext, platform: Platform, trigger: Trigger, **late: Any
) -> TriggerOutcome:
    """Apply the retrain policy to a trigger; notifies operators of a new suggestion."""
    answer = evaluate_trigger(
        platform.warehouse,
        RetrainPolicy.from_settings(platform.settings),
        trigger,
        now=datetime.now(UTC),
        busy=_manual_training(context.instance, trigger.model),
        repetition=lambda: describe_repetition(get_model(platform.settings, trigger.model), platform),
        **late,
    )
    ids = {"model": trigger.model, "trigger": trigger.id, "work_request": answer.request_id}
    words = (trigger.model, trigger.source, trigger.id, answer.action, answer.reason)
    sensor_log(context).info("%s %s %s: %s, %s", *words, extra={"fields": ids})
    if answer.action == "suggest" and answer.new:
        notify(platform.settings, platform.warehouse, "suggestion", trigger.id, f"{trigger.model}: {answer.reason}")
    return answer


def _manual_training(instance: dg.DagsterInstance, model: str) -> str | None:
    """Id of a run of the training job that no request started and that is not finished, or None."""
    runs = instance.get_runs(dg.RunsFilter(job_name=training_job(model), statuses=IN_PROGRESS), limit=10)
    return next((run.run_id for run in runs if REQUEST_TAG not in run.tags), None)


# Reports: drift and dropped performance


def _reports_after(instance: dg.DagsterInstance, model: str, after: int) -> Iterator[tuple[int, str]]:
    """Storage id and report id of each materialization after storage id `after`, oldest first."""
    while True:
        page = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=report_key(model), after_storage_id=after),
            limit=EVENTS_PER_PAGE,
            ascending=True,
        )
        for record in page.records:
            after = record.storage_id
            materialization = record.asset_materialization
            report_id = materialization.metadata.get("report_id") if materialization else None
            yield after, str(report_id.value) if report_id is not None else ""
        if not page.has_more:
            return


def _report_sensor(source: Source, description: str, models: Sequence[str], settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{source}_reports",
        description=description,
        minimum_interval_seconds=settings.trigger_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def reports(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
        """Evaluate every report since the last tick; the cursor moves with each handled report."""
        seen: dict[str, int] = json.loads(context.cursor or "{}")
        outcomes = []
        for model in models:
            for storage_id, report_id in _reports_after(context.instance, model, seen.get(model, 0)):
                row = drift_reports.report(platform.warehouse, report_id) if report_id else None
                trigger = None if row is None else build_report_trigger(row, source)
                if row is not None and trigger is not None:
                    answer = _apply_policy(context, platform, trigger, until=row["computed_at"])
                    outcomes.append(f"{model} report {report_id[:8]}: {answer.action}, {answer.reason}")
                elif row is not None:
                    outcomes.append(f"{model} report {report_id[:8]}: {row['status']}, no {source} trigger")
                seen[model] = storage_id
                context.update_cursor(json.dumps(seen))
        return dg.SkipReason("; ".join(outcomes) or "no new report")

    return reports


# New data


def _data_sensor(models: Sequence[str], settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name="new_data",
        minimum_interval_seconds=settings.trigger_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="New data that a model's champion was not trained on.",
    )
    def new_data(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
        """Apply the policy once per identity of new data, and again each hour while it is held back."""
        outcomes = []
        for model in models:
            found = find_new_data_trigger(get_model(platform.settings, model), platform, datetime.now(UTC))
            if isinstance(found, Trigger):
                answer = _apply_policy(context, platform, found)
                outcomes.append(f"{model}: {found.evidence}: {answer.action}, {answer.reason}")
            else:
                outcomes.append(f"{model}: {found}")
        return dg.SkipReason("; ".join(outcomes))

    return new_data


# Requests: queued trainings become runs


def _request_sensor(model: str, settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{model}_training_requests",
        job_name=training_job(model),
        minimum_interval_seconds=settings.loop_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts queued trainings one at a time and records how they ended.",
    )
    def training_requests(context: dg.SensorEvaluationContext, platform: Platform) -> dg.RunRequest | dg.SkipReason:
        """Close finished requests, apply the policy to alerts, start the oldest request when no training runs."""
        requests = [r for r in open_requests(platform.warehouse, "training") if r["model"] == model]
        waiting, outcomes = [], []
        for request in requests:
            run = _find_run(context.instance, request["id"])
            if run is None:
                waiting.append(request)
            else:
                outcomes.append(
                    f"request {request['id'][:8]}: {_update_request(context.instance, platform, request, run)}"
                )
        if len(waiting) < len(requests) and any("running" in line for line in outcomes):
            return dg.SkipReason("; ".join(outcomes))
        manual = _manual_training(context.instance, model)
        if manual is not None:
            return dg.SkipReason("; ".join([*outcomes, f"run {manual[:8]}, started manually, is in progress"]))
        for request in waiting:
            reason = _hold_back(context, platform, request)
            if reason is None:
                return _start(request, platform.settings)
            advance_request(platform.warehouse, request["id"], "held", outcome=reason)
            outcomes.append(f"{request['source']} {request['id'][:8]}: held, {reason}")
        return dg.SkipReason("; ".join(outcomes) or "no training is requested")

    return training_requests


def _hold_back(context: dg.SensorEvaluationContext, platform: Platform, request: dict[str, Any]) -> str | None:
    """Why the policy does not start a queued request, or None.

    Requests of users and alerts are decided here. The others were decided when they were queued; only another training
    that has ended since can make them a repetition.
    """
    if request["source"] not in ("alert", *MANUAL_SOURCES):
        return describe_repetition(get_model(platform.settings, request["model"]), platform)
    if request["source"] == "alert":
        trigger = build_alert_trigger(platform.objects, platform.warehouse, request)
    else:
        trigger = Trigger(request["model"], "api", request["id"], request["reason"], request_id=request["id"])
    answer = _apply_policy(context, platform, trigger)
    return None if answer.action == "train" else answer.reason


def _start(request: dict[str, Any], settings: Settings) -> dg.RunRequest:
    in_process: dict[str, Any] = {"execution": {"config": {"in_process": {}}}}
    return dg.RunRequest(
        run_key=f"training:{request['id']}",
        run_config=in_process if settings.retrain_in_one_process else None,
        tags={REQUEST_TAG: request["id"], SOURCE_TAG: request["source"], REASON_TAG: request["reason"]},
    )


def _find_run(instance: dg.DagsterInstance, request_id: str) -> dg.DagsterRun | None:
    """The newest run of a request, retries included, or None."""
    runs: Sequence[dg.DagsterRun] = instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: request_id}), limit=1)
    return runs[0] if runs else None


def _update_request(
    instance: dg.DagsterInstance, platform: Platform, request: dict[str, Any], run: dg.DagsterRun
) -> str:
    """Set a request to its run's state (running, promoted, refused, done, failed); returns state and reason."""
    if not run.is_finished or _is_retried(instance, run):
        if request["status"] == "queued":
            advance_request(platform.warehouse, request["id"], "running", run_id=run.run_id)
        return f"running in {run.run_id[:8]}"
    decided = _decision(instance, platform, request, run)
    if decided is not None:
        rolled_out = not decided[0] and began_rollout(platform.warehouse, run.run_id)
        status, outcome = ("promoted" if decided[0] else "done" if rolled_out else "refused"), decided[1]
    elif run.status == dg.DagsterRunStatus.SUCCESS:
        status, outcome = "done", "the run ended without a decision"
    else:
        status, outcome = "failed", f"run {run.run_id} ended as {run.status.value.lower()}"
        if failure := describe_failure(instance, run.run_id):
            outcome += f": {failure}"
    advance_request(platform.warehouse, request["id"], status, run_id=run.run_id, outcome=outcome)
    return f"{status}, {outcome}"


def _is_retried(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the daemon is about to retry a run that failed.

    It decides just after the failure, which a tick may see first, and starts the retry within seconds.
    """
    if run.status != dg.DagsterRunStatus.FAILURE or run.tags.get(WILL_RETRY_TAG) == "false":
        return False
    if WILL_RETRY_TAG not in run.tags and not instance.run_retries_enabled:
        return False
    record = instance.get_run_record_by_id(run.run_id)
    ended = record.end_time if record else None
    return ended is not None and time.time() - ended < RETRY_SECONDS


def _decision(
    instance: dg.DagsterInstance, platform: Platform, request: dict[str, Any], run: dg.DagsterRun
) -> tuple[bool, str] | None:
    """Decision on a request: a promotion by any of its runs, else the newest run's last decision, else None.

    A run that was killed after it moved the pointer has promoted, although its retry finds that the candidate serves.
    """
    if decision_of_run(platform.warehouse, run.run_id) is None:
        sweep(platform.models, platform.warehouse, request["model"])
    runs = instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: request["id"]}))
    found = [decision_of_run(platform.warehouse, each.run_id) for each in runs]
    return next((decided for decided in found if decided is not None and decided[0]), found[0])


# Failures


def _failure_sensor(settings: Settings) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="failed_runs",
        minimum_interval_seconds=settings.trigger_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Records every failed run and notifies operators once.",
    )
    def failed_runs(context: dg.RunFailureSensorContext, platform: Platform) -> None:
        """Record the failure and send one notification."""
        run = context.dagster_run
        failure = describe_failure(context.instance, run.run_id) or context.failure_event.message
        text = f"run {run.run_id} of {run.job_name} failed: {failure}"
        delivered = notify(platform.settings, platform.warehouse, "run_failure", run.run_id, text[:2000])
        ids = {"run_id": run.run_id, "job": run.job_name}
        sensor_log(context).error("%s (%s)", text, delivered, extra={"fields": ids})

    return failed_runs


def definitions(models: Sequence[str], settings: Settings) -> dg.Definitions:
    """Every sensor of the loop over these models, enabled by default."""
    return dg.Definitions(
        sensors=[
            _report_sensor("drift", "Applies the retrain policy to reports with drift.", models, settings),
            _report_sensor(
                "performance", "Applies the retrain policy to reports with dropped live performance.", models, settings
            ),
            _data_sensor(models, settings),
            *(_request_sensor(model, settings) for model in models),
            _failure_sensor(settings),
        ]
    )
