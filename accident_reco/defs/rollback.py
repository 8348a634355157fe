"""Rollback in Dagster: a job that moves the pointer back, and one that records moves made outside of a run.

Moving the pointer itself, and its audit, are in `lifecycle`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from accident_reco.defs.automation import DATA_VERSION_TAG
from accident_reco.defs.links import link_version
from accident_reco.defs.mlflow_tracking import record_decision
from accident_reco.defs.resources import Platform
from accident_reco.defs.tags import REASON_TAG, REQUEST_TAG, URGENT, USER_TAG
from accident_reco.lifecycle.gate import Decision
from accident_reco.lifecycle.intents import Outcome
from accident_reco.lifecycle.promotion import sweep
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.lifecycle.rollout.control import RUN_PREFIX
from accident_reco.lifecycle.store import NoSuchVersion
from accident_reco.registry import UnknownModelError, get_model
from accident_reco.settings import Settings
from accident_reco.storage.lifecycle import decision_of_run, moves_since, promotion
from accident_reco.storage.objects import StoreError
from accident_reco.storage.work_requests import OPEN, advance_request, open_requests, work_request

MAX_RUNS = 3
"""Runs of one rollback request, failed ones included."""


def production_key(model: str) -> dg.AssetKey:
    """Asset key of a model's production version."""
    return dg.AssetKey([model, "production_model"])


class RollbackConfig(dg.Config):
    """Model and target version; by default the last version that was not itself rolled back.

    `replaces` is the champion at the request: with another one meanwhile, the rollback is rejected.
    """

    model: str
    version: str | None = None
    replaces: str | None = None


class RecordConfig(dg.Config):
    """Id of a promoted decision in the audit."""

    promotion: str


@dg.op(description="Point to an older version, audited; the version rolled back is blocked from promotion.")
def roll_back_pointer(context: dg.OpExecutionContext, config: RollbackConfig, platform: Platform) -> None:
    """Move the pointer and record it as a materialization of the production model.

    Raises:
        dg.Failure: the model or version does not exist, or the rollback is rejected.
    """
    request_id = context.run.tags.get(REQUEST_TAG)
    request = work_request(platform.warehouse, request_id) if request_id else None
    if request is not None and request["status"] not in OPEN:
        context.log.info("request %s was handled already: %s", request_id, request["outcome"])
        return
    if request is not None and (request["kind"], request["model"], request["detail"].get("version")) != (
        "rollback",
        config.model,
        config.version,
    ):
        # Its requester would be recorded for what another person started.
        raise dg.Failure(f"request {request_id} asks for something else than this run", allow_retries=False)
    try:
        get_model(platform.settings, config.model)
        outcome = roll_back(
            platform.models,
            platform.warehouse,
            config.model,
            version=config.version,
            requested_by=request["requested_by"] if request else _get_user(context, platform),
            run_id=context.run.run_id,
            replaces=config.replaces,
        )
    except UnknownModelError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    except (NoSuchVersion, ValueError) as error:  # ValueError: a stored file differs from the published one
        _finish_request(context, platform, "failed", str(error))
        raise dg.Failure(str(error), allow_retries=False) from None
    _finish_request(context, platform, "done" if outcome.decision.promote else "refused", outcome.decision.reason)
    _record_move(context, platform, config.model, outcome)
    if not outcome.decision.promote:
        raise dg.Failure(outcome.decision.reason, allow_retries=False)


def _get_user(context: dg.OpExecutionContext, platform: Platform) -> str:
    """Who started a run in Dagster: the account that the guard of its pages recorded; `dagster` without a login.

    Without a login nobody checks the tag, so that it counts for nothing.
    """
    user = context.run.tags.get(USER_TAG) if platform.settings.page_login else None
    return f"{user} (dagster)" if user else "dagster"


def _finish_request(context: dg.OpExecutionContext, platform: Platform, status: str, outcome: str) -> None:
    request_id = context.run.tags.get(REQUEST_TAG)
    if request_id:
        advance_request(platform.warehouse, request_id, status, run_id=context.run.run_id, outcome=outcome)


def _record_move(
    context: dg.OpExecutionContext, platform: Platform, model: str, outcome: Outcome, is_rollback: bool = True
) -> None:
    """Record a move in the asset's history, in MLflow's run and in MLflow's aliases."""
    reason = outcome.decision.reason
    if outcome.decision.promote:
        metadata: dict[str, Any] = {
            "promoted": True,
            "serving": outcome.version,
            "reason": reason,
            "rollback": is_rollback,
            **link_version(platform.settings, model, outcome.version),
        }
        key = production_key(model)
        tags = {DATA_VERSION_TAG: outcome.version}  # what follows the champion follows a rollback too
        context.log_event(dg.AssetMaterialization(key, description=reason, metadata=metadata, tags=tags))
    record_decision(context, platform, model, outcome.version, outcome.decision, outcome.pointer)


@dg.job(
    description="Roll a model back to an older version (config: model, version).",
    executor_def=dg.in_process_executor,
    tags=URGENT,
)
def rollback_model() -> None:
    """Runs `roll_back_pointer`."""
    roll_back_pointer()


@dg.op(description="Record a move of the pointer that no run recorded; MLflow's aliases follow.")
def record_rollback(context: dg.OpExecutionContext, config: RecordConfig, platform: Platform) -> None:
    """Record a move from the audit as `roll_back_pointer` records its own.

    Raises:
        dg.Failure: the audit has no such decision.
    """
    row = promotion(platform.warehouse, config.promotion)
    if row is None:
        raise dg.Failure(f"the audit has no decision {config.promotion!r}", allow_retries=False)
    decision = Decision(row["promoted"], row["reason"], row["detail"])
    outcome = Outcome(row["version"], decision, platform.models.pointer(row["model"]))
    _record_move(context, platform, row["model"], outcome, is_rollback=row["action"] == "rollback")


@dg.job(
    name="rolled_back_elsewhere",
    description="Record a move of the pointer made by API, by command line, or by a run that was killed.",
    executor_def=dg.in_process_executor,
    tags=URGENT,
)
def record_external_move() -> None:
    """Runs `record_rollback`."""
    record_rollback()


def definitions(models: Sequence[str], settings: Settings) -> dg.Definitions:
    """The jobs, each with its sensor over these models."""
    common: dict[str, Any] = {"default_status": dg.DefaultSensorStatus.RUNNING}

    @dg.sensor(
        **common,
        minimum_interval_seconds=settings.loop_seconds,
        name="rollbacks",
        job_name=rollback_model.name,
        description="Starts rollbacks that the API queued, and closes requests whose rollback is done.",
    )
    def rollbacks(context: dg.SensorEvaluationContext, platform: Platform) -> list[dg.RunRequest] | dg.SkipReason:
        """Start a run for each open request whose rollback is not in the audit."""
        requests = open_requests(platform.warehouse, "rollback")
        if not requests:
            return dg.SkipReason("no rollback is requested")
        if problem := _sweep(platform):
            return dg.SkipReason(problem)
        found = [_run_for_request(context.instance, platform, request) for request in requests]
        return [run for run in found if run is not None] or dg.SkipReason("every rollback is done or in progress")

    @dg.sensor(
        **common,
        minimum_interval_seconds=settings.trigger_interval,
        name="rollbacks_elsewhere",
        job_name=record_external_move.name,
        description="Completes interrupted moves of the pointers and records those that no run recorded.",
    )
    def external_moves(context: dg.SensorEvaluationContext, platform: Platform) -> list[dg.RunRequest] | dg.SkipReason:
        """Start a run for each promoted decision since the last tick that its own run did not record.

        The cursor stays before a decision whose run is in progress; a repeated request has the same run key.
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
                requests.append(_record_request(row))
        context.update_cursor(since.isoformat())
        return requests or dg.SkipReason(problem or "every pointer move is recorded")

    return dg.Definitions(jobs=[rollback_model, record_external_move], sensors=[rollbacks, external_moves])


def _sweep(platform: Platform) -> str | None:
    """Complete interrupted moves of every model; returns the problem where the store cannot be reached, else None."""
    try:
        for model in platform.settings.model_names:
            sweep(platform.models, platform.warehouse, model)
    except StoreError as error:
        return f"the model store failed; the next tick tries again: {error}"
    return None


def _run_for_request(instance: dg.DagsterInstance, platform: Platform, request: dict[str, Any]) -> dg.RunRequest | None:
    """A run for a request; None if one is in progress, or if the request is closed here: done, or out of attempts."""
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
        "replaces": request["detail"].get("replaces"),
    }
    return dg.RunRequest(
        run_key=f"rollback:{request['id']}" + (f":{len(runs)}" if runs else ""),
        run_config={"ops": {"roll_back_pointer": {"config": {k: v for k, v in config.items() if v is not None}}}},
        tags={REQUEST_TAG: request["id"], REASON_TAG: request["reason"] or "a rollback was requested"},
    )


def _recorded_by_run(instance: dg.DagsterInstance, row: dict[str, Any]) -> bool | None:
    """Whether the run of a decision recorded it as a materialization; None while the run is in progress."""
    if row["run_id"].startswith(RUN_PREFIX):  # a promotion at the end of a rollout
        return False
    run = instance.get_run_by_id(row["run_id"])
    if run is None:  # a rollback by API or command line; for a promotion, a run that was deleted
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


def _record_request(row: dict[str, Any]) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"rolled-back:{row['id']}",
        run_config={"ops": {"record_rollback": {"config": {"promotion": row["id"]}}}},
        tags={REASON_TAG: f"the pointer of {row['model']} was moved outside of a run"},
    )
