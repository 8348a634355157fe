"""The sensors of the closed loop. They find triggers, evaluate them, and turn queued requests into runs.

Two stages: reports, new data and alerts become at most one queued request each (`evaluate_trigger`); one sensor per
model alone starts runs, under run keys of the requests. Killed anywhere in a tick, the next ends with the same requests
and runs.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from accident_reco.defs.drift_report import report_key
from accident_reco.defs.failures import what_failed
from accident_reco.defs.resources import Platform
from accident_reco.defs.training_loop import training_job
from accident_reco.drift.notify import notify
from accident_reco.drift.triggers import build_alert_trigger, build_report_trigger, find_new_data_trigger
from accident_reco.lifecycle.promotion import sweep
from accident_reco.lifecycle.retrain_policy import RetrainPolicy, Source
from accident_reco.lifecycle.retrain_requests import Trigger, TriggerOutcome, evaluate_trigger
from accident_reco.registry import get_model
from accident_reco.settings import Settings
from accident_reco.storage import drift_reports, promotions
from accident_reco.storage.work_requests import advance_request, open_requests

REQUEST_TAG = "accident_reco/request_id"
PAGE = 50
FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING,
]  # fmt: skip


def _ask(context: dg.SensorEvaluationContext, platform: Platform, trigger: Trigger, **late: Any) -> TriggerOutcome:
    """Put a trigger to the retrain policy; a suggestion is told to people."""
    answer = evaluate_trigger(
        platform.warehouse,
        RetrainPolicy.from_settings(platform.settings),
        trigger,
        now=datetime.now(UTC),
        busy=_training_by_hand(context.instance, trigger.model),
        **late,
    )
    context.log.info("%s %s %s: %s, %s", trigger.model, trigger.source, trigger.id, answer.action, answer.reason)
    if answer.action == "suggest" and answer.new:
        notify(platform.settings, platform.warehouse, "suggestion", trigger.id, f"{trigger.model}: {answer.reason}")
    return answer


def _training_by_hand(instance: dg.DagsterInstance, model: str) -> str | None:
    """A run of the training job that no request started, if one is under way."""
    runs = instance.get_runs(dg.RunsFilter(job_name=training_job(model), statuses=IN_PROGRESS), limit=10)
    return next((run.run_id for run in runs if REQUEST_TAG not in run.tags), None)


# Reports: drift and lost performance


def _reports_after(instance: dg.DagsterInstance, model: str, after: int) -> Iterator[tuple[int, str]]:
    """Storage id and report id of each materialization after `after`, oldest first; none is missed."""
    while True:
        page = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=report_key(model), after_storage_id=after), limit=PAGE, ascending=True
        )
        for record in page.records:
            after = record.storage_id
            made = record.asset_materialization
            report_id = made.metadata.get("report_id") if made else None
            yield after, str(report_id.value) if report_id is not None else ""
        if not page.has_more:
            return


def _report_sensor(source: Source, description: str, models: Sequence[str], settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{source}_reports", description=description, minimum_interval_seconds=settings.loop_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )  # fmt: skip
    def reports(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
        """Look at every report since the last tick; the cursor moves with each one that is dealt with."""
        seen: dict[str, int] = json.loads(context.cursor or "{}")
        said = []
        for model in models:
            for storage_id, report_id in _reports_after(context.instance, model, seen.get(model, 0)):
                row = drift_reports.report(platform.warehouse, report_id) if report_id else None
                trigger = None if row is None else build_report_trigger(row, source)
                if row is not None and trigger is not None:
                    answer = _ask(context, platform, trigger, until=row["computed_at"])
                    said.append(f"{model} report {report_id[:8]}: {answer.action}, {answer.reason}")
                elif row is not None:
                    said.append(f"{model} report {report_id[:8]}: {row['status']}, nothing to do for {source}")
                seen[model] = storage_id
                context.update_cursor(json.dumps(seen))
        return dg.SkipReason("; ".join(said) or "no new report")

    return reports


# New data


def _data_sensor(models: Sequence[str], settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name="new_data", minimum_interval_seconds=settings.loop_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Data that the champion has not been trained on, as each model says.",
    )  # fmt: skip
    def new_data(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
        """Ask the policy once per piece of news, and again each hour while it waits."""
        said = []
        for model in models:
            found = find_new_data_trigger(get_model(platform.settings, model), platform, datetime.now(UTC))
            if isinstance(found, Trigger):
                answer = _ask(context, platform, found)
                said.append(f"{model}: {found.evidence}: {answer.action}, {answer.reason}")
            else:
                said.append(f"{model}: {found}")
        return dg.SkipReason("; ".join(said))

    return new_data


# Requests: what was queued becomes runs


def _request_sensor(model: str, settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{model}_training_requests", job_name=training_job(model),
        minimum_interval_seconds=settings.loop_seconds, default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts queued trainings one after the other, and writes down how they ended.",
    )  # fmt: skip
    def training_requests(context: dg.SensorEvaluationContext, platform: Platform) -> dg.RunRequest | dg.SkipReason:
        """Close what ended, put alerts to the policy, start the oldest request when nothing runs."""
        requests = [r for r in open_requests(platform.warehouse, "training") if r["model"] == model]
        waiting, said = [], []
        for request in requests:
            run = _run_of(context.instance, request["id"])
            if run is None:
                waiting.append(request)
            else:
                said.append(f"request {request['id'][:8]}: {_follow(context.instance, platform, request, run)}")
        if len(waiting) < len(requests) and any("running" in line for line in said):
            return dg.SkipReason("; ".join(said))
        by_hand = _training_by_hand(context.instance, model)
        if by_hand is not None:
            return dg.SkipReason("; ".join([*said, f"run {by_hand[:8]}, started by hand, is under way"]))
        for request in waiting:
            if request["source"] != "alert":
                return _start(request, platform.settings)
            answer = _ask(context, platform, build_alert_trigger(platform.objects, platform.warehouse, request))
            if answer.action == "train":
                return _start(request, platform.settings)
            advance_request(platform.warehouse, request["id"], "done", outcome=answer.reason)
            said.append(f"alert {request['id'][:8]}: {answer.action}, {answer.reason}")
        return dg.SkipReason("; ".join(said) or "no training is asked for")

    return training_requests


def _start(request: dict[str, Any], settings: Settings) -> dg.RunRequest:
    together: dict[str, Any] = {"execution": {"config": {"in_process": {}}}}
    return dg.RunRequest(
        run_key=f"training:{request['id']}",
        run_config=together if settings.retrain_in_one_process else None,
        tags={REQUEST_TAG: request["id"], "accident_reco/source": request["source"]},
    )


def _run_of(instance: dg.DagsterInstance, request_id: str) -> dg.DagsterRun | None:
    """The run that a request led to, retries included: the newest one counts."""
    runs: Sequence[dg.DagsterRun] = instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: request_id}), limit=1)
    return runs[0] if runs else None


def _follow(instance: dg.DagsterInstance, platform: Platform, request: dict[str, Any], run: dg.DagsterRun) -> str:
    """Bring a request up to its run: running, promoted, refused or failed, with the gate's reason."""
    if run.status not in FINISHED:
        if request["status"] == "queued":
            advance_request(platform.warehouse, request["id"], "running", run_id=run.run_id)
        return f"running in {run.run_id[:8]}"
    decided = _decision(instance, platform, request, run)
    if decided is not None:
        status, outcome = ("promoted" if decided[0] else "refused"), decided[1]
    elif run.status == dg.DagsterRunStatus.SUCCESS:
        status, outcome = "done", "the run ended without a decision"
    else:
        status, outcome = "failed", f"run {run.run_id} ended as {run.status.value.lower()}"
        if told := what_failed(instance, run.run_id):
            outcome += f": {told}"
    advance_request(platform.warehouse, request["id"], status, run_id=run.run_id, outcome=outcome)
    return f"{status}, {outcome}"


def _decision(
    instance: dg.DagsterInstance, platform: Platform, request: dict[str, Any], run: dg.DagsterRun
) -> tuple[bool, str] | None:
    """What a request led to: a promotion by any of its runs, or else the newest run's last decision.

    A run that was killed after it moved the pointer has promoted, although its retry finds that the candidate serves.
    """
    if promotions.decision_of_run(platform.warehouse, run.run_id) is None:
        sweep(platform.models, platform.warehouse, request["model"])
    runs = instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: request["id"]}))
    found = [promotions.decision_of_run(platform.warehouse, each.run_id) for each in runs]
    return next((decided for decided in found if decided is not None and decided[0]), found[0])


# Failures


def _failure_sensor(settings: Settings) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="failed_runs", minimum_interval_seconds=settings.loop_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING, description="Records every failed run and tells people once.",
    )  # fmt: skip
    def failed_runs(context: dg.RunFailureSensorContext, platform: Platform) -> None:
        """Record and notify."""
        run = context.dagster_run
        told = what_failed(context.instance, run.run_id) or context.failure_event.message
        text = f"run {run.run_id} of {run.job_name} failed: {told}"
        delivered = notify(platform.settings, platform.warehouse, "run_failure", run.run_id, text[:2000])
        context.log.info("%s (%s)", text, delivered)

    return failed_runs


def definitions(models: Sequence[str], settings: Settings) -> dg.Definitions:
    """Every sensor of the loop over these models, on from the start."""
    return dg.Definitions(
        sensors=[
            _report_sensor("drift", "Drift reports that are red, for the retrain policy.", models, settings),
            _report_sensor("performance", "Reports whose live performance has dropped.", models, settings),
            _data_sensor(models, settings),
            *(_request_sensor(model, settings) for model in models),
            _failure_sensor(settings),
        ]
    )
