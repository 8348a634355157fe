"""`POST /models/{model}/rollback`: an older version serves again, at once.

The request is written first: were this process to end before it moved the pointer, the platform's sensor would.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from accident_reco.lifecycle.rollback import roll_back
from accident_reco.lifecycle.store import NoSuchVersion
from accident_reco.storage.lifecycle import advance_request, request_work
from accident_reco.storage.objects import StoreError
from serving.common.app import json_response, new_router
from serving.common.identity import principal_of
from serving.common.problems import Problem, responses
from serving.predict.context import Context
from serving.predict.model_routes import ModelName, slot_of

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
    outcome: str | None = Field(description="What was done, or why not; empty while it is left to the sensor")


def router(context: Context) -> APIRouter:
    """The endpoint."""
    routes = new_router("models", needs=context.guard.needs("admin"))

    @routes.post(
        "/models/{model}/rollback",
        summary="Let an older version serve again",
        description="Moves the pointer and audits it; every predict process follows within a second. Where the store "
        "cannot be written now, the request stays queued (202) and a sensor carries it out. The same `Idempotency-Key` "
        "gives the same request.",
        response_model=WorkRequest,
        responses={202: {"description": "Queued", "model": WorkRequest}, **responses(404, 409, 503)},
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
        row, new = await asyncio.to_thread(
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
        if new:
            row = await asyncio.to_thread(_carry_out, context, row)
        return json_response(_shown(row), 202 if row["status"] == "queued" else 200)

    return routes


def _carry_out(context: Context, row: dict[str, Any]) -> dict[str, Any]:
    """Move the pointer; the row as it is then."""
    try:
        outcome = roll_back(
            context.open_models(), context.warehouse, row["model"],
            version=row["detail"]["version"], asked_by=row["requested_by"], run_id=f"api:{row['id']}",
        )  # fmt: skip
    except (NoSuchVersion, ValueError) as error:
        status, said = "failed", str(error)
    except StoreError:
        return row
    else:
        status, said = ("done" if outcome.decision.promote else "refused"), outcome.decision.reason
    advance_request(context.warehouse, row["id"], status, outcome=said)
    return {**row, "status": status, "outcome": said}


def _known_versions(context: Context, model: str) -> list[str]:
    try:
        return context.open_models().versions(model)
    except (OSError, RuntimeError, ValueError):
        raise Problem(503, "The model store cannot be read now.", kind="store-down",
                      headers={"Retry-After": "5"}) from None  # fmt: skip


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in WorkRequest.model_fields if name != "requested_at"}
    return {**shown, "requested_at": re.sub(r"\+00:00$", "", row["requested_at"].isoformat()) + "+00:00"}
