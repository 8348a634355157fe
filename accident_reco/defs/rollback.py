"""Rollback in Dagster: a job that moves the pointer back, and one that records what was done in another way."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from accident_reco.defs.mlflow_tracking import record_decision
from accident_reco.defs.resources import Platform
from accident_reco.defs.run_queue import URGENT
from accident_reco.lifecycle.gate import Decision
from accident_reco.lifecycle.promotion import Outcome
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.lifecycle.store import NoSuchVersion
from accident_reco.registry import UnknownModelError, get_model
from accident_reco.settings import Settings
from accident_reco.storage.lifecycle import OPEN, advance_request, open_requests, promotion, work_request
from accident_reco.storage.loop import rollbacks_since

REQUEST_TAG = "accident_reco/request_id"


class Rollback(dg.Config):
    """Which model, and to which version; by default to the one before the champion."""

    model: str
    version: str | None = None
    asked_by: str = "dagster"


class Done(dg.Config):
    """Id of a rollback in the promotion audit."""

    promotion: str


@dg.op(description="Point at an older version, audited; the version left behind is not promoted again by itself.")
def roll_back_pointer(context: dg.OpExecutionContext, config: Rollback, platform: Platform) -> None:
    """Move the pointer and record it as a materialization of the production model."""
    request_id = context.run.tags.get(REQUEST_TAG)
    request = work_request(platform.warehouse, request_id) if request_id else None
    if request is not None and request["status"] not in OPEN:
        context.log.info("request %s was dealt with meanwhile: %s", request_id, request["outcome"])
        return
    try:
        get_model(platform.settings, config.model)
        outcome = roll_back(
            platform.models, platform.warehouse, config.model,
            version=config.version, asked_by=config.asked_by, run_id=context.run.run_id,
        )  # fmt: skip
    except (UnknownModelError, NoSuchVersion) as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    _finish_request(context, platform, outcome)
    _tell(context, platform, config.model, outcome)
    if not outcome.decision.promote:
        raise dg.Failure(outcome.decision.reason, allow_retries=False)


def _finish_request(context: dg.OpExecutionContext, platform: Platform, outcome: Outcome) -> None:
    request_id = context.run.tags.get(REQUEST_TAG)
    if request_id:
        status = "done" if outcome.decision.promote else "refused"
        advance_request(
            platform.warehouse, request_id, status, run_id=context.run.run_id, outcome=outcome.decision.reason
        )


def _tell(context: dg.OpExecutionContext, platform: Platform, model: str, outcome: Outcome) -> None:
    """A rollback as the asset's history, MLflow's run and MLflow's aliases know it."""
    reason = outcome.decision.reason
    if outcome.decision.promote:
        shown: dict[str, Any] = {"promoted": True, "serving": outcome.version, "reason": reason, "rollback": True}
        key = dg.AssetKey([model, "production_model"])
        context.log_event(dg.AssetMaterialization(key, description=reason, metadata=shown))
    record_decision(context, platform, model, outcome.version, outcome.decision, outcome.pointer)


@dg.job(
    description="Let an older version of a model serve again (config: model, version).",
    executor_def=dg.in_process_executor,
    tags=URGENT,
)
def rollback_model() -> None:
    """One op."""
    roll_back_pointer()


@dg.op(description="Record a rollback that was done through the API or the command line; MLflow's aliases follow.")
def record_rollback(context: dg.OpExecutionContext, config: Done, platform: Platform) -> None:
    """What the job above does once the pointer has moved."""
    row = promotion(platform.warehouse, config.promotion)
    if row is None:
        raise dg.Failure(f"the audit has no decision {config.promotion!r}", allow_retries=False)
    decision = Decision(row["promoted"], row["reason"], row["detail"])
    _tell(context, platform, row["model"], Outcome(row["version"], decision, platform.models.pointer(row["model"])))


@dg.job(
    description="Record a rollback that was done without Dagster (started by a sensor).",
    executor_def=dg.in_process_executor,
    tags=URGENT,
)
def rolled_back_elsewhere() -> None:
    """One op."""
    record_rollback()


def definitions(models: Sequence[str], settings: Settings) -> dg.Definitions:
    """The jobs, each with its sensor over these models."""
    common: dict[str, Any] = {
        "minimum_interval_seconds": settings.loop_seconds, "default_status": dg.DefaultSensorStatus.RUNNING,
    }  # fmt: skip

    @dg.sensor(
        **common, name="rollbacks", job_name=rollback_model.name,
        description="Starts rollbacks that the API could only queue.",
    )  # fmt: skip
    def rollbacks(platform: Platform) -> list[dg.RunRequest] | dg.SkipReason:
        """Requests become runs."""
        asked = [_carry_out(request) for request in open_requests(platform.warehouse, "rollback")]
        return asked or dg.SkipReason("no rollback is asked for")

    @dg.sensor(
        **common, name="rollbacks_elsewhere", job_name=rolled_back_elsewhere.name,
        description="Has rollbacks recorded that were done through the API or the command line.",
    )  # fmt: skip
    def rollbacks_elsewhere(
        context: dg.SensorEvaluationContext, platform: Platform
    ) -> list[dg.RunRequest] | dg.SkipReason:
        """Rollbacks in the audit since the last tick that no run of this instance made become runs."""
        since = datetime.fromisoformat(context.cursor) if context.cursor else datetime.fromtimestamp(0, UTC)
        done = [row for model in models for row in rollbacks_since(platform.warehouse, model, since)]
        context.update_cursor(max([since, *(row["decided_at"] for row in done)]).isoformat())
        others = [row for row in done if context.instance.get_run_by_id(row["run_id"]) is None]
        return [_record(row) for row in others] or dg.SkipReason("no rollback without Dagster")

    return dg.Definitions(jobs=[rollback_model, rolled_back_elsewhere], sensors=[rollbacks, rollbacks_elsewhere])


def _carry_out(request: dict[str, Any]) -> dg.RunRequest:
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


def _record(row: dict[str, Any]) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"rolled-back:{row['id']}",
        run_config={"ops": {"record_rollback": {"config": {"promotion": row["id"]}}}},
    )
