"""`GET /monitoring/drift/{model}`: verdict, drawn report, history."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from accident_reco.drift.reports import newest_report
from accident_reco.storage import drift_reports, retrain_decisions
from accident_reco.storage.objects import ObjectNotFound, StoreError
from serving.common.app import json_response, new_router
from serving.common.problems import Problem, responses
from serving.drift import answers
from serving.drift.context import Context

DECISIONS: Final = 50

ModelName = Annotated[str, Path(description="Model name", max_length=40)]
ReportId = Annotated[
    str | None, Query(alias="id", pattern="^[0-9a-f]{32}$", description="Report id; by default the latest report")
]


def router(context: Context) -> APIRouter:
    """The endpoints."""
    routes = new_router("drift", needs=context.guard.needs("monitor"))

    @routes.get(
        "/monitoring/drift/{model}",
        summary="The latest verdict; with compute=true a new one, now",
        response_model=answers.FullReport,
        responses=responses(401, 403, 404, 409, 503),
    )
    async def drift(
        model: ModelName,
        compute: Annotated[bool, Query(description="Judge the latest window now, through the same code")] = False,
    ) -> Response:
        require_model(context, model)
        row = await _computed(context, model) if compute else await _latest(context, model)
        return json_response(answers.full(row), headers={"Cache-Control": "no-store"})

    @routes.get(
        "/monitoring/drift/{model}/report",
        summary="The drawn report (HTML): verdict on top, every feature, charts",
        response_class=Response,
        responses={
            200: {"content": {"text/html": {"schema": {"type": "string"}}}},
            **responses(401, 403, 404, 503),
        },
    )
    async def report(model: ModelName, report_id: ReportId = None) -> Response:
        require_model(context, model)
        page, policy = await _read(context, _page, model, report_id)
        return Response(
            page,
            media_type="text/html; charset=utf-8",
            headers={
                "Content-Security-Policy": policy,
                "X-Frame-Options": "DENY",
                "Cache-Control": "private, max-age=60",
            },
        )

    @routes.get(
        "/monitoring/drift/{model}/history",
        summary="Reports and retrain decisions, newest first",
        response_model=answers.History,
        responses=responses(401, 403, 404, 503),
    )
    async def history(
        model: ModelName,
        limit: Annotated[int, Query(ge=1, le=500, description="Most reports to list")] = 50,
    ) -> Response:
        require_model(context, model)

        def read() -> dict[str, Any]:
            rows = drift_reports.reports(context.warehouse, model, limit=limit)
            decided = retrain_decisions.decisions(context.warehouse, model, limit=DECISIONS)
            return {"model": model, "reports": [answers.summary(row) for row in rows], "decisions": decided}

        return json_response(await _read(context, read))

    return routes


def require_model(context: Context, model: str) -> None:
    """Raises Problem 404 for a name that is no model of this installation: it goes no further than this comparison."""
    if model not in context.models:
        raise Problem(404, f"There is no such model; models are {', '.join(context.models)}.", kind="no-such-model")


async def _latest(context: Context, model: str) -> dict[str, Any]:
    row: dict[str, Any] | None = await _read(context, newest_report, context.warehouse, model)
    if row is None:
        raise Problem(404, "There is no report yet; ask with ?compute=true or wait for the schedule.", kind="no-report")
    return row


async def _computed(context: Context, model: str) -> dict[str, Any]:
    from accident_reco.drift.run_check import NothingToCompare

    try:
        row = await context.computations.compute(model)
        await asyncio.to_thread(context.gauges.refresh)
    except NothingToCompare as error:
        raise Problem(409, f"{str(error)[0].upper()}{str(error)[1:]}.", kind="nothing-to-compare") from None
    except (SQLAlchemyError, StoreError) as error:
        raise _down(error) from None
    return row


def _page(context: Context, model: str, report_id: str | None) -> tuple[bytes, str]:
    from accident_reco.drift.html_report import content_security_policy

    warehouse = context.warehouse
    row = newest_report(warehouse, model) if report_id is None else drift_reports.report(warehouse, report_id)
    if row is None or row["model"] != model:
        raise Problem(404, "There is no such report.", kind="no-report")
    if row["report_key"] is None:
        problem = row["document"].get("page_problem") or "the HTML report is not kept any more"
        raise Problem(404, f"{problem[0].upper()}{problem[1:]}; its figures are kept.", kind="no-page")
    try:
        # The key is ours, from the row: nothing of the request becomes a name in the store.
        page = context.objects().read(row["report_key"])
    except ObjectNotFound:
        raise Problem(404, "The HTML report is not kept any more; its figures are kept.", kind="no-page") from None
    return page, content_security_policy(page)


async def _read(context: Context, function: Any, *arguments: Any) -> Any:
    try:
        if function is _page:
            return await asyncio.to_thread(function, context, *arguments)
        return await asyncio.to_thread(function, *arguments)
    except (SQLAlchemyError, StoreError) as error:
        raise _down(error) from None


def _down(error: Exception) -> Problem:
    return Problem(
        503, f"Reports cannot be read now ({type(error).__name__}).", kind="store-down", headers={"Retry-After": "5"}
    )
