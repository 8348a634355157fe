"""`GET /runs`: what the platform did last, and what it does now."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from accident_reco.storage.recorded_runs import latest_runs
from serving.common.app import build_router, json_response
from serving.common.problems import responses
from serving.predict.context import Context


class RecordedRun(BaseModel):
    """A run, or what another component did in place of one."""

    at: datetime = Field(description="UTC; its decision or verdict, or the latest change of a request")
    kind: str = Field(description="training, rollback, drift, or request: a training or rollback that is not decided")
    model: str
    run_id: str | None = Field(description="Run in Dagster; null where there was none")
    outcome: str = Field(description="promote or refuse, the drift verdict, or the state of the request")
    reason: str


def router(context: Context) -> APIRouter:
    """The endpoint."""
    routes = build_router("models", requires=context.guard.require("monitor"))

    @routes.get(
        "/runs",
        summary="List the latest runs with their outcome: trainings, rollbacks, drift checks",
        response_model=list[RecordedRun],
        responses=responses(503),
    )
    async def list_runs(limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Response:
        rows = await asyncio.to_thread(latest_runs, context.warehouse, limit)
        return json_response([row | {"at": row["at"].isoformat(timespec="milliseconds")} for row in rows])

    return routes
