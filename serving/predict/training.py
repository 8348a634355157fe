"""`POST /training/{model}`: requests a training; `GET /training/requests`: requests and their state.

The service only writes a row; a Dagster sensor starts exactly one run for it.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import BaseModel, BeforeValidator, Field
from starlette.responses import Response

from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import list_requests, request_training, request_work, work_request
from serving.common.app import build_router, json_response
from serving.common.identity import get_principal
from serving.common.problems import Problem, responses
from serving.predict.context import Context
from serving.predict.model_routes import ModelName, get_slot

Status = Literal["queued", "running", "promoted", "refused", "failed", "held", "done"]
Source = Literal["api", "alert", "drift", "data", "performance"]


def _require_timestamp(value: object) -> object:
    """Pydantic would read a bare number as seconds since 1970."""
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[T ]", value) is None:
        raise ValueError("a timestamp as 2026-01-31T12:00:00Z is needed")
    return value


class TrainingRequest(BaseModel):
    """A request and its state."""

    id: str
    model: str
    status: Status
    outcome: str | None = Field(description="Reason of the gate, of the retrain policy (`held`), or of the failure")
    run_id: str | None = Field(description="Dagster run of the training")
    source: str = Field(description="Trigger: api, alert, drift, data, performance")
    reason: str
    requested_at: str
    updated_at: str


class QueuedTraining(TrainingRequest):
    """Response of `POST /training/{model}`."""

    new: bool = Field(description="False if this joined a queued request, or repeats an `Idempotency-Key`")


def router(context: Context) -> APIRouter:
    """The endpoints."""
    routes = build_router("training", requires=context.guard.require("train"))

    @routes.post(
        "/training/{model}",
        summary="Request a training",
        description="Joins the request of a user that is still queued. With an `Idempotency-Key`, a repetition returns "
        "the same request. A training that would only repeat an earlier one is not started: `held`.",
        status_code=202,
        response_model=QueuedTraining,
        responses=responses(404),
    )
    async def post_training(
        model: ModelName,
        request: Request,
        reason: Annotated[str, Query(max_length=500, description="Reason, recorded with the request")] = "",
        idempotency_key: Annotated[str | None, Header(max_length=64, pattern=r"^[!-~]+$")] = None,
    ) -> Response:
        name = get_slot(context, model).name
        subject = get_principal(request).subject
        row, new = await asyncio.to_thread(
            _request, context.warehouse, name, subject, reason or "requested through the API", idempotency_key
        )
        location = f"/training/requests/{row['id']}"
        return json_response(_build_response(row) | {"new": new}, 202, {"Location": location, "Retry-After": "5"})

    @routes.get(
        "/training/requests",
        summary="List training requests, newest first",
        response_model=list[TrainingRequest],
        responses=responses(404),
    )
    async def list_training_requests(
        model: Annotated[str | None, Query(max_length=40, description="Only of this model")] = None,
        status: Annotated[Status | None, Query(description="Only with this status")] = None,
        source: Annotated[Source | None, Query(description="Only of this trigger")] = None,
        before: Annotated[
            datetime | None,
            BeforeValidator(_require_timestamp),
            Query(description="Only older ones: `requested_at` of the last one of a page"),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Response:
        rows = await asyncio.to_thread(
            list_requests,
            context.warehouse,
            "training",
            model=None if model is None else get_slot(context, model).name,
            status=status,
            source=source,
            before=None if before is None else before if before.tzinfo else before.replace(tzinfo=UTC),
            limit=limit,
        )
        return json_response([_build_response(row) for row in rows])

    @routes.get(
        "/training/requests/{request_id}",
        summary="Get a training request",
        response_model=TrainingRequest,
        responses=responses(404),
    )
    async def get_training_request(
        request_id: Annotated[str, Path(max_length=64, description="Id from the response of `POST /training/{model}`")],
    ) -> Response:
        row = await asyncio.to_thread(work_request, context.warehouse, request_id)
        if row is None or row["kind"] != "training":
            raise Problem(404, "There is no such training request.", kind="no-such-request")
        return json_response(_build_response(row))

    return routes


def _request(
    warehouse: Warehouse, model: str, subject: str, reason: str, idempotency_key: str | None
) -> tuple[dict[str, Any], bool]:
    if idempotency_key is None:
        return request_training(warehouse, model, subject, reason)
    return request_work(
        warehouse,
        kind="training",
        model=model,
        source="api",
        requested_by=subject,
        reason=reason,
        # Includes the user: a key must not reveal another user's request.
        dedupe_key=f"api:{model}:{subject}:{idempotency_key}"[:128],
    )


def _build_response(row: dict[str, Any]) -> dict[str, Any]:
    fields = {name: row[name] for name in ("id", "model", "status", "outcome", "run_id", "source", "reason")}
    return fields | {name: _format_utc(row[name]) for name in ("requested_at", "updated_at")}


def _format_utc(at: datetime) -> str:
    # SQLite returns naive times; all are UTC.
    return at.isoformat(timespec="milliseconds") + ("+00:00" if at.tzinfo is None else "")
