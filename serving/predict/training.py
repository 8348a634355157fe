"""`POST /training/{model}`: asks for a training, durably; `GET /training/requests/{id}`: what came of it.

The service only writes a row; a Dagster sensor turns rows into runs, exactly once.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from accident_reco.storage.work_requests import request_work, work_request
from serving.common.app import json_response, new_router
from serving.common.identity import principal_of
from serving.common.problems import Problem, responses
from serving.predict.context import Context
from serving.predict.model_routes import ModelName, slot_of


class TrainingRequest(BaseModel):
    """A request and what came of it."""

    id: str
    model: str
    status: Literal["queued", "running", "promoted", "refused", "failed", "done"]
    outcome: str | None = Field(description="The gate's reason, or what failed")
    run_id: str | None = Field(description="Dagster run that works on it")
    source: str = Field(description="Who asked: api, alert, drift, data, performance")
    reason: str
    requested_at: str
    updated_at: str


class AskedTraining(TrainingRequest):
    """Answer of `POST /training/{model}`."""

    new: bool = Field(description="False where the same `Idempotency-Key` had asked before")


def router(context: Context) -> APIRouter:
    """The endpoints, over the requests in the warehouse."""
    routes = new_router("training", needs=context.guard.needs("train"))

    @routes.post(
        "/training/{model}",
        summary="Ask for a training",
        description="With an `Idempotency-Key`, asking again gives the same request.",
        status_code=202,
        response_model=AskedTraining,
        responses=responses(404),
    )
    async def ask_for_training(
        model: ModelName,
        request: Request,
        reason: Annotated[str, Query(max_length=500, description="Why, for the record")] = "",
        idempotency_key: Annotated[str | None, Header(max_length=64, pattern=r"^[!-~]+$")] = None,
    ) -> Response:
        name = slot_of(context, model).name
        subject = principal_of(request).subject
        row, new = await asyncio.to_thread(
            request_work,
            context.warehouse,
            kind="training",
            model=name,
            source="api",
            requested_by=subject,
            reason=reason or "asked through the API",
            # Of one caller: a key must not give away somebody else's request.
            dedupe_key=f"api:{name}:{subject}:{idempotency_key}"[:128] if idempotency_key else None,
        )
        where = f"/training/requests/{row['id']}"
        return json_response(_shown(row) | {"new": new}, 202, {"Location": where, "Retry-After": "5"})

    @routes.get(
        "/training/requests/{request_id}",
        summary="What came of a training request",
        response_model=TrainingRequest,
        responses=responses(404),
    )
    async def get_training_request(
        request_id: Annotated[str, Path(max_length=64, description="Id from the answer of `POST /training/{model}`")],
    ) -> Response:
        row = await asyncio.to_thread(work_request, context.warehouse, request_id)
        if row is None or row["kind"] != "training":
            raise Problem(404, "There is no such training request.", kind="no-such-request")
        return json_response(_shown(row))

    return routes


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in ("id", "model", "status", "outcome", "run_id", "source", "reason")}
    return shown | {name: _utc(row[name]) for name in ("requested_at", "updated_at")}


def _utc(at: datetime) -> str:
    # SQLite gives back naive times; all of ours are UTC.
    return at.isoformat(timespec="milliseconds") + ("+00:00" if at.tzinfo is None else "")
