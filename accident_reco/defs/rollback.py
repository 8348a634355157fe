"""Rollback in Dagster: a job that moves the pointer back, and one that records moves that no run recorded itself."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from accident_reco.defs.mlflow_tracking import record_decision
from accident_reco.defs.resources import Platform
from accident_reco.defs.run_queue import URGENT
from accident_reco.lifecycle.gate import Decision
from accident_reco.lifecycle.intents import Outcome
from accident_reco.lifecycle.promotion import sweep
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.lifecycle.store import NoSuchVersion
from accident_reco.registry import UnknownModelError, get_model
from accident_reco.settings import Settings
from accident_reco.storage.objects import StoreError
from accident_reco.storage.promotions import decision_of_run, moves_since, promotion
from accident_reco.storage.work_requests import OPEN, advance_request, open_requests, work_request

REQUEST_TAG = "accident_reco/request_id"
MAX_RUNS = 3
"""Runs that one request for a rollback may lead to."""


def production_key(model: str) -> dg.AssetKey:
    """The asset that stands for what serves."""
    return dg.AssetKey([model, "production_model"])


class Rollback(dg.Config):
    """Which model, and to which version; by default to the last one that was not rolled back itself."""

    model: str
    version: str | None = None
    asked_by: str = "dagster"


class Done(dg.Config):
    """Id of a promoted decision in the audit."""

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
            version=config.version, requested_by=config.asked_by, run_id=context.run.run_id,
        )  # fmt: skip
    except UnknownModelError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    except (NoSuchVersion, ValueError) as error:  # ValueError: a stored file is not the one that was published
        _finish_request(context, platform, "failed", str(error))
        raise dg.Failure(str(error), allow_retries=False) from None
    _finish_request(context, platform, "done" if outcome.decision.promote else "refused", outcome.decision.reason)
    _tell(context, platform, config.model, outcome)
    if not outcome.decision.promote:
        raise dg.Failure(outcome.decision.reason, allow_retries=False)


def _finish_request(context: dg.OpExecutionContext, platform: Platform, status: str, outcome: str) -> None:
    request_id = context.run.tags.get(REQUEST_TAG)
    if request_id:
        advance_request(platform.warehouse, request_id, status, run_id=context.run.run_id, outcome=outcome)


def _tell(
    context: dg.OpExecutionContext, platform: Platform, model: str, outcome: Outcome, is_rollback: bool = True
) -> None:
    """Record a move as the asset's history, MLflow's run and MLflow's aliases show it."""
    reason = outcome.decision.reason
    if outcome.decision.promote:
        shown: dict[str, Any] = {
            "promoted": True,
            "serving": outcome.version,
            "reason": reason,
            "rollback": is_rollback,
        }
        key = production_key(model)
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


@dg.op(description="Record a move of the pointer that no run recorded itself; MLflow's aliases follow.")
def record_rollback(context: dg.OpExecutionContext, config: Done, platform: Platform) -> None:
    """Does for a row of the audit what `roll_back_pointer` does for its own rollback."""
    row = promotion(platform.warehouse, config.promotion)
    if row is None:
        raise dg.Failure(f"the audit has no decision {config.promotion!r}", allow_retries=False)
    decision = Decision(row["promoted"], row["reason"], row["detail"])
    outcome = Outcome(row["version"], decision, platform.models.pointer(row["model"]))
    _tell(context, platform, row["model"], outcome, is_rollback=row["action"] == "rollback")


@dg.job(
    description="Record a move of the pointer that no run recorded: by API, command line, or a run that was killed.",
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
        description="Starts rollbacks that the API could only queue, and closes those that were carried out meanwhile.",
    )  # fmt: skip
    def rollbacks(context: dg.SensorEvaluationContext, platform: Platform) -> list[dg.RunRequest] | dg.SkipReason:
        """Start a run for each open request whose rollback has not been audited yet."""
        requests = open_requests(platform.warehouse, "rollback")
        if not requests:
            return dg.SkipReason("no rollback is requested")
        if problem := _sweep(platform):
            return dg.SkipReason(problem)
        found = [_carry_out(context.instance, platform, request) for request in requests]
        return [run for run in found if run is not None] or dg.SkipReason("every rollback is done or under way")

    @dg.sensor(
        **common, name="rollbacks_elsewhere", job_name=rolled_back_elsewhere.name,
        description="Completes interrupted moves of the pointers, and has those recorded that no run recorded itself.",
    )  # fmt: skip
    def rollbacks_elsewhere(
        context: dg.SensorEvaluationContext, platform: Platform
    ) -> list[dg.RunRequest] | dg.SkipReason:
        """Start a run for each promoted decision since the last tick that its own run did not record.

        The cursor stays before a decision whose run is under way; what is requested again has the same run key.
        """
        problem = _sweep(platform)
        since = datetime.fromisoformat(context.cursor) if context.cursor else datetime.fromtimestamp(0, UTC)
        rows = [row for model in models for row in moves_since(platform.warehouse, model, since)]
        requests, waiting = [], False
        for row in sorted(rows, key=lambda row: row["decided_at"]):
            recorded = _recorded_by_run(context.instance, row)
            waiting = waiting or recorded is None
            if not waiting:
                since = row["decided_at"]
            if recorded is False:
                requests.append(_record(row))
        context.update_cursor(since.isoformat())
        return requests or dg.SkipReason(problem or "every move of the pointers is recorded")

    return dg.Definitions(jobs=[rollback_model, rolled_back_elsewhere], sensors=[rollbacks, rollbacks_elsewhere])


def _sweep(platform: Platform) -> str | None:
    """Complete interrupted moves of every model; what the store has to say where it cannot be reached now."""
    try:
        for model in platform.settings.model_names:
            sweep(platform.models, platform.warehouse, model)
    except StoreError as error:
        return f"the model store failed; the next tick tries again: {error}"
    return None


def _carry_out(instance: dg.DagsterInstance, platform: Platform, request: dict[str, Any]) -> dg.RunRequest | None:
    """A run for a request, or None where one is under way or the rollback was audited (then the request is closed)."""
    runs = instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: request["id"]}))
    for run_id in (f"api:{request['id']}", *(run.run_id for run in runs)):
        decided = decision_of_run(platform.warehouse, run_id)
        if decided is not None:
            advance_request(platform.warehouse, request["id"], "done" if decided[0] else "refused", outcome=decided[1])
            return None
    if any(not run.is_finished for run in runs):
        return None
    if len(runs) >= MAX_RUNS:
        problem = f"{len(runs)} runs failed, the last one {runs[0].run_id}"
        advance_request(platform.warehouse, request["id"], "failed", outcome=problem)
        return None
    config = {
        "model": request["model"],
        "version": request["detail"].get("version"),
        "asked_by": request["requested_by"],
    }
    return dg.RunRequest(
        run_key=f"rollback:{request['id']}" + (f":{len(runs)}" if runs else ""),
        run_config={"ops": {"roll_back_pointer": {"config": {k: v for k, v in config.items() if v is not None}}}},
        tags={REQUEST_TAG: request["id"]},
    )


def _recorded_by_run(instance: dg.DagsterInstance, row: dict[str, Any]) -> bool | None:
    """Whether the run that made a decision recorded it as a materialization; None while it still may."""
    run = instance.get_run_by_id(row["run_id"])
    if run is None:  # a rollback by API or command line; of a promotion, a run that this instance has forgotten
        return bool(row["action"] == "promote")
    if any(
        event.asset_key == production_key(row["model"])
        for record in instance.get_records_for_run(
            run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
        ).records
        if (event := record.event_log_entry.dagster_event) is not None
    ):
        return True
    return False if run.is_finished else None


def _record(row: dict[str, Any]) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"rolled-back:{row['id']}",
        run_config={"ops": {"record_rollback": {"config": {"promotion": row["id"]}}}},
    )
