"""`/monitoring/drift`: verdicts and history; the HTML reports are in `report_page`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from accident_reco.drift.reports import newest_report
from accident_reco.storage import drift_reports, retrain_decisions
from accident_reco.storage.objects import StoreError
from serving.common.app import build_router, json_response
from serving.common.problems import Problem, responses
from serving.drift import schemas
from serving.drift.computing import CheckOptions
from serving.drift.context import Context

MAX_DECISIONS: Final = 50
ModelName = Annotated[str, Path(description="Model name", max_length=40)]
Compute = Annotated[bool, Query(description="Check the latest window now, as the scheduled check does")]


def router(context: Context) -> APIRouter:
    """The endpoints."""
    routes = build_router("drift", requires=context.guard.require("monitor"))

    @routes.get(
        "/monitoring/drift",
        summary="Get the latest verdicts of all models; with compute=true compute new ones",
        response_model=schemas.Verdicts,
        responses=responses(401, 403, 503),
    )
    async def all_drift(compute: Compute = False) -> Response:
        verdicts: dict[str, Any] = {}
        for model in context.models:
            try:
                row = await _compute(context, model) if compute else await _read_latest(context, model)
            except Problem as problem:
                if problem.status_code not in (404, 409):
                    raise
                verdicts[model] = {"status": None, "reason": problem.detail, "report": None}
            else:
                report = _build(context, row)
                verdicts[model] = {"status": row["status"], "reason": row["reason"], "report": report}
        drifted = [model for model, verdict in verdicts.items() if verdict["status"] == "drift"]
        return json_response({"drifted": drifted, "models": verdicts}, headers={"Cache-Control": "no-store"})

    @routes.get(
        "/monitoring/drift/{model}",
        summary="Get the latest verdict; with compute=true compute a new one",
        response_model=schemas.FullReport,
        responses=responses(401, 403, 404, 409, 503),
    )
    async def drift(
        model: ModelName,
        compute: Compute = False,
    ) -> Response:
        require_model(context, model)
        row = await _compute(context, model) if compute else await _read_latest(context, model)
        return json_response(_build(context, row), headers={"Cache-Control": "no-store"})

    @routes.get(
        "/monitoring/drift/{model}/reports/{report_id}",
        summary="Get a verdict of the history with all its figures",
        response_model=schemas.FullReport,
        responses=responses(401, 403, 404, 503),
    )
    async def drift_report(
        model: ModelName,
        report_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="Report id from the history")],
    ) -> Response:
        require_model(context, model)
        row = await read_blocking(drift_reports.report, context.warehouse, report_id)
        if row is None or row["model"] != model:
            raise Problem(404, "There is no such report.", kind="no-report")
        return json_response(_build(context, row))

    @routes.post(
        "/monitoring/drift/{model}",
        summary="Check now: the latest window with a threshold of this request, or a stored partition",
        description="The report is in the history. With a threshold or a partition it is not the model's current one: "
        "it sets no gauge, fires no alert and starts no training.",
        response_model=schemas.FullReport,
        responses=responses(401, 403, 404, 409, 422, 503),
    )
    async def check_drift(
        model: ModelName,
        threshold: Annotated[
            float | None,
            Query(
                gt=0,
                le=1,
                description="Share of drifted features at which the window has drifted; by default the setting",
            ),
        ] = None,
        partition: Annotated[
            int | None, Query(ge=1, le=9999, description="Stored partition to check, such as a year: see `history`")
        ] = None,
        against: Annotated[
            int | None,
            Query(ge=1, le=9999, description="Partition to compare it with; by default the champion's reference"),
        ] = None,
    ) -> Response:
        require_model(context, model)
        if against is not None and partition is None:
            raise Problem(422, "`against` needs a partition.", kind="invalid-request")
        row = await _compute(context, model, CheckOptions(threshold, partition, against))
        return json_response(_build(context, row), headers={"Cache-Control": "no-store"})

    @routes.get(
        "/monitoring/drift/{model}/history",
        summary="List reports and retrain decisions, newest first",
        response_model=schemas.History,
        responses=responses(401, 403, 404, 503),
    )
    async def history(
        model: ModelName,
        limit: Annotated[int, Query(ge=1, le=500, description="Maximum number of reports")] = 50,
    ) -> Response:
        require_model(context, model)

        def read() -> dict[str, Any]:
            rows = drift_reports.reports(context.warehouse, model, limit=limit)
            decided = retrain_decisions.decisions(context.warehouse, model, limit=MAX_DECISIONS)
            return {
                "model": model,
                "reports": [schemas.build_report(row) for row in rows],
                "decisions": decided,
                "partitions": list(context.partitions(model)),
            }

        return json_response(await read_blocking(read))

    return routes


def require_model(context: Context, model: str) -> None:
    """Raises Problem 404 for an unknown model. The name of a path is used for nothing else before this check."""
    if model not in context.models:
        raise Problem(404, f"There is no such model; models are {', '.join(context.models)}.", kind="no-such-model")


async def _read_latest(context: Context, model: str) -> dict[str, Any]:
    row: dict[str, Any] | None = await read_blocking(newest_report, context.warehouse, model)
    if row is None:
        raise Problem(404, "There is no report yet; request one with ?compute=true.", kind="no-report")
    return row


def _build(context: Context, row: dict[str, Any]) -> dict[str, Any]:
    return schemas.build_full_report(row, context.column_texts(row["model"]))


async def _compute(context: Context, model: str, options: CheckOptions | None = None) -> dict[str, Any]:
    from accident_reco.drift.run_check import NothingToCompare

    try:
        row = await context.computations.compute(model, options)
        await asyncio.to_thread(context.gauges.refresh)
    except NothingToCompare as error:
        raise Problem(409, f"{str(error)[0].upper()}{str(error)[1:]}.", kind="nothing-to-compare") from None
    except (SQLAlchemyError, StoreError) as error:
        raise _store_problem(error) from None
    return row


async def read_blocking(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run blocking reads in a thread. Raises Problem 503 where the warehouse or the store fails."""
    try:
        return await asyncio.to_thread(function, *arguments)
    except (SQLAlchemyError, StoreError) as error:
        raise _store_problem(error) from None


def _store_problem(error: Exception) -> Problem:
    return Problem(
        503, f"Reports cannot be read now ({type(error).__name__}).", kind="store-down", headers={"Retry-After": "5"}
    )
