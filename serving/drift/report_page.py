"""`/monitoring/drift/{model}/report`: the HTML report of a drift check, and links that open it without a token."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from accident_reco.drift.report_links import build_link
from accident_reco.drift.reports import newest_report
from accident_reco.storage import drift_reports
from accident_reco.storage.objects import ObjectNotFound
from serving.common.app import build_router, json_response
from serving.common.problems import Problem, responses
from serving.drift import schemas
from serving.drift.context import Context
from serving.drift.monitoring import ModelName, read_blocking, require_model
from serving.drift.report_access import ScopeOrSignature

NO_SCRIPTS: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox"
)
"""Policy of reports that an earlier release rendered: the verdict and the table are shown, the charts are not."""

ReportId = Annotated[
    str | None, Query(alias="id", pattern="^[0-9a-f]{32}$", description="Report id; by default the latest report")
]

Expires = Annotated[
    str | None, Query(max_length=12, description="Time at which a signed link expires, in Unix seconds")
]
Signature = Annotated[str | None, Query(max_length=64, description="Signature of a link, instead of credentials")]
Minutes = Annotated[int, Query(ge=1, le=60, description="Time for which the link is valid")]


def routers(context: Context) -> tuple[APIRouter, APIRouter]:
    """The endpoints: the page, which a signed link opens, too, and the link."""
    pages = build_router("drift", requires=Depends(ScopeOrSignature(context.guard, "monitor", context.alert_secret)))
    links = build_router("drift", requires=context.guard.require("monitor"))

    @pages.get(
        "/monitoring/drift/{model}/report",
        summary="Get the HTML report: verdict, every feature, charts",
        description="With a token, or by a signed link (`report/link`) that a browser opens without one.",
        response_class=Response,
        responses={
            200: {"content": {"text/html": {"schema": {"type": "string"}}}},
            **responses(401, 403, 404, 503),
        },
    )
    async def report(
        model: ModelName, report_id: ReportId = None, expires: Expires = None, signature: Signature = None
    ) -> Response:
        require_model(context, model)
        page, policy = await read_blocking(_read_page, context, model, report_id)
        return Response(
            page,
            media_type="text/html; charset=utf-8",
            headers={
                "Content-Security-Policy": policy,
                "X-Frame-Options": "DENY",
                "Cache-Control": "private, max-age=60",
            },
        )

    @links.get(
        "/monitoring/drift/{model}/report/link",
        summary="Get a signed link to the HTML report, for a browser without a token",
        response_model=schemas.ReportLink,
        responses=responses(401, 403, 404, 503),
    )
    async def report_link(model: ModelName, report_id: ReportId = None, minutes: Minutes = 10) -> Response:
        require_model(context, model)
        row = await read_blocking(_read_row, context, model, report_id)
        expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=minutes)
        base, secret = context.settings.drift_url, context.alert_secret()
        url = build_link(base, secret, model, row["id"], expires_at)
        return json_response({"id": row["id"], "url": url, "expires_at": expires_at})

    return pages, links


def _read_row(context: Context, model: str, report_id: str | None) -> dict[str, Any]:
    """A report of a model, by default the latest. Raises Problem 404."""
    warehouse = context.warehouse
    row = newest_report(warehouse, model) if report_id is None else drift_reports.report(warehouse, report_id)
    if row is None or row["model"] != model:
        raise Problem(404, "There is no such report.", kind="no-report")
    return row


def _read_page(context: Context, model: str, report_id: str | None) -> tuple[bytes, str]:
    """HTML of a report and its content security policy. Raises Problem 404."""
    row = _read_row(context, model, report_id)
    if row["report_key"] is None:
        problem = row["document"].get("page_problem") or "the HTML report is not kept any more"
        raise Problem(404, f"{problem[0].upper()}{problem[1:]}; its figures are kept.", kind="no-page")
    try:
        # The key comes from the row: no part of the request becomes a key of the store.
        page = context.open_objects().read(row["report_key"])
    except ObjectNotFound:
        raise Problem(404, "The HTML report is not kept any more; its figures are kept.", kind="no-page") from None
    return page, row["document"].get("page_policy") or NO_SCRIPTS
