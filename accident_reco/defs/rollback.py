"""Rollback in Dagster: a job that moves the pointer back, and a sensor that records the rollbacks of other ways."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from accident_reco.defs.mlflow_tracking import follow_pointer, record_decision
from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bundle import MODELS
from accident_reco.lifecycle.promotion import Outcome
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.lifecycle.store import NoSuchVersion
from accident_reco.settings import Settings
from accident_reco.storage.drift import rollbacks_since
from accident_reco.storage.lifecycle import OPEN, advance_request, open_requests, work_request

REQUEST_TAG = "accident_reco/request_id"


class Rollback(dg.Config):
    """Which model, and to which version; by default to the one before the champion."""

    model: str
    version: str | None = None
    asked_by: str = "dagster"


@dg.op(description="Point at an older version, audited; the version left behind is not promoted again by itself.")
def roll_back_pointer(context: dg.OpExecutionContext, config: Rollback, platform: Platform) -> None:
    """Move the pointer and record it as a materialization of the production model."""
    request_id = context.run.tags.get(REQUEST_TAG)
    request = work_request(platform.warehouse, request_id) if request_id else None
    if request is not None and request["status"] not in OPEN:
        context.log.info("request %s was dealt with meanwhile: %s", request_id, request["outcome"])
        return
    if config.model not in MODELS:
        raise dg.Failure(f"there is no model {config.model!r}; models are {', '.join(MODELS)}", allow_retries=False)
    try:
        outcome = roll_back(
            platform.models, platform.warehouse, config.model,
            version=config.version, asked_by=config.asked_by, run_id=context.run.run_id,
        )  # fmt: skip
    except NoSuchVersion as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    _finish_request(context, platform, outcome)
    record_decision(context, platform, config.model, outcome.version, outcome.decision)
    if outcome.pointer:
        follow_pointer(context, platform, config.model, outcome.pointer)
    if not outcome.decision.promote:
        raise dg.Failure(outcome.decision.reason, allow_retries=False)
    context.log_event(_materialization(config.model, outcome.version, outcome.decision.reason))


def _finish_request(context: dg.OpExecutionContext, platform: Platform, outcome: Outcome) -> None:
    request_id = context.run.tags.get(REQUEST_TAG)
    if request_id:
        status = "done" if outcome.decision.promote else "refused"
        advance_request(
            platform.warehouse, request_id, status, run_id=context.run.run_id, outcome=outcome.decision.reason
        )


def _materialization(model: str, version: str, reason: str) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        dg.AssetKey([model, "production_model"]),
        description=reason,
        metadata={"promoted": True, "serving": version, "reason": reason, "rollback": True},
    )


@dg.job(
    description="Let an older version of a model serve again (config: model, version).",
    executor_def=dg.in_process_executor,
)
def rollback_model() -> None:
    """One op."""
    roll_back_pointer()


def definitions(settings: Settings) -> dg.Definitions:
    """The job and its sensor."""

    @dg.sensor(
        name="rollbacks", job_name="rollback_model", minimum_interval_seconds=settings.loop_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts queued rollbacks, and records those done through the API or the command line.",
    )  # fmt: skip
    def rollbacks(context: dg.SensorEvaluationContext, platform: Platform) -> list[dg.RunRequest] | dg.SkipReason:
        """Requests become runs; rollbacks that no run of ours made become materializations."""
        said = _record_others(context, platform)
        asked = [_run(request) for request in open_requests(platform.warehouse, "rollback")]
        return asked or dg.SkipReason("; ".join(said) or "no rollback")

    return dg.Definitions(jobs=[rollback_model], sensors=[rollbacks])


def _run(request: dict[str, Any]) -> dg.RunRequest:
    config = {
        "model": request["model"],
        "version": request["detail"].get("version"),
        "asked_by": request["requested_by"],
    }
    return dg.RunRequest(
        run_key=f"rollback:{request['id']}",
        run_config={"ops": {"roll_back_pointer": {"config": {k: v for k, v in config.items() if v is not None}}}},
        tags={REQUEST_TAG: request["id"]},
    )


def _record_others(context: dg.SensorEvaluationContext, platform: Platform) -> list[str]:
    since = datetime.fromisoformat(context.cursor) if context.cursor else datetime.fromtimestamp(0, UTC)
    newest, said = since, []
    for model in MODELS:
        for row in rollbacks_since(platform.warehouse, model, since):
            if context.instance.get_run_by_id(row["run_id"]) is None:
                context.instance.report_runless_asset_event(_materialization(model, row["version"], row["reason"]))
                said.append(f"{model}: {row['reason']}")
            newest = max(newest, row["decided_at"])
    context.update_cursor(newest.isoformat())
    return said
