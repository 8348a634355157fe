"""`POST /models/{model}/rollback`: asks for an older version; the platform's sensor carries it out, exactly once."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from accident_reco.storage.lifecycle import request_work
from serving.common.app import json_response, new_router
from serving.common.identity import principal_of
from serving.common.problems import Problem, responses
from serving.predict.context import Context
from serving.predict.models import ModelName, slot_of

_VERSION: Final = r"^[0-9a-f]{16}$"


class RollbackRequest(BaseModel):
    """Which version should serve again, and why."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[str, Field(pattern=_VERSION)] | None = Field(
        None, description="Version from `GET /models/{model}`; absent: the one before the champion"
    )
    reason: str = Field(min_length=3, max_length=500, description="Goes to the audit, word for word")


class WorkRequest(BaseModel):
    """A request for work, as it is queued."""

    id: str
    kind: str
    model: str
    status: str
    requested_by: str
    reason: str
    requested_at: str


def router(context: Context) -> APIRouter:
    """The endpoint."""
    routes = new_router("models", needs=context.guard.needs("admin"))

    @routes.post(
        "/models/{model}/rollback",
        summary="Let an older version serve again",
        description="Writes a durable request (202); a sensor turns it into a run. The same `Idempotency-Key` gives "
        "the same request.",
        status_code=202,
        response_model=WorkRequest,
        responses=responses(404, 409, 503),
    )
    async def rollback(
        model: ModelName,
        body: RollbackRequest,
        request: Request,
        idempotency_key: Annotated[str | None, Header(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = None,
    ) -> Response:
        slot = slot_of(context, model)
        champion = context.champion(model)
        if body.version == champion.version:
            raise Problem(409, f"{champion.version} serves already.", kind="serves-already")
        target = body.version or champion.pointer.previous
        if target is None:
            raise Problem(409, "There is no earlier version to roll back to.", kind="nothing-to-roll-back-to")
        known = await asyncio.to_thread(_known_versions, context, slot.name)
        if target not in known:
            raise Problem(404, "The store has no such version; GET /models/{model} lists them.", kind="no-such-version")
        row, _ = await asyncio.to_thread(
            request_work,
            context.warehouse,
            kind="rollback",
            model=slot.name,
            source="api",
            requested_by=principal_of(request).subject,
            reason=body.reason,
            detail={"version": target},
            dedupe_key=f"rollback:{slot.name}:{idempotency_key}" if idempotency_key else None,
        )
        return json_response(_shown(row), 202)

    return routes


def _known_versions(context: Context, model: str) -> list[str]:
    try:
        return context.open_models().versions(model)
    except (OSError, RuntimeError, ValueError):
        raise Problem(503, "The model store cannot be read now.", kind="store-down",
                      headers={"Retry-After": "5"}) from None  # fmt: skip


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in WorkRequest.model_fields if name != "requested_at"}
    return {**shown, "requested_at": re.sub(r"\+00:00$", "", row["requested_at"].isoformat()) + "+00:00"}
