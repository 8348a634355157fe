"""`POST /models/{model}/rollback`: an older version serves again, at once.

The request is written first: were this process to end before it moved the pointer, the platform's sensor would.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from accident_reco.lifecycle.intents import MoveInterrupted, first_line
from accident_reco.lifecycle.rollback import Plan, plan, roll_back
from accident_reco.lifecycle.store import NoEarlierVersion, NoSuchVersion
from accident_reco.storage.lifecycle import advance_request, request_work
from accident_reco.storage.loop import request_by_key
from accident_reco.storage.objects import StoreError
from serving.common import logs
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
        None, description="Version from `GET /models/{model}`; absent: the last one that was not rolled back itself"
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
        description="Moves the pointer and audits it; every predict process follows within a second. Where store or "
        "warehouse fail once it is recorded, the request stays queued (202) and a sensor carries it out. The same "
        "`Idempotency-Key` gives the same request.",
        response_model=WorkRequest,
        responses={202: {"description": "Queued", "model": WorkRequest}, **responses(404, 409, 503)},
    )
    async def rollback(
        model: ModelName,
        body: RollbackRequest,
        request: Request,
        idempotency_key: Annotated[str | None, Header(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = None,
    ) -> Response:
        name = slot_of(context, model).name
        context.champion(model)  # 503 where none serves
        row = await asyncio.to_thread(
            _request,
            context,
            name,
            body,
            principal_of(request).subject,
            f"rollback:{name}:{idempotency_key}" if idempotency_key else None,
        )
        return json_response(_shown(row), 202 if row["status"] == "queued" else 200)

    return routes


def _request(
    context: Context, model: str, body: RollbackRequest, requested_by: str, dedupe_key: str | None
) -> dict[str, Any]:
    """Record the request and carry it out; the row as it is then."""
    known = request_by_key(context.warehouse, dedupe_key) if dedupe_key else None
    if known is not None:
        return known
    planned = _plan(context, model, body.version)
    row, new = request_work(
        context.warehouse,
        kind="rollback",
        model=model,
        source="api",
        requested_by=requested_by,
        reason=body.reason,
        detail={"version": planned.target},
        dedupe_key=dedupe_key,
    )
    return _carry_out(context, row, planned) if new else row


def _plan(context: Context, model: str, version: str | None) -> Plan:
    try:
        models = context.open_models()
        planned = plan(models, context.warehouse, model, version)
        models.manifest(model, planned.target)
    except NoEarlierVersion as error:
        raise Problem(409, f"{error}.", kind="nothing-to-roll-back-to") from None
    except NoSuchVersion:
        detail = "The store has no such version; GET /models/{model} lists them."
        raise Problem(404, detail, kind="no-such-version") from None
    except (OSError, RuntimeError, ValueError):
        raise Problem(
            503, "The model store cannot be read now.", kind="store-down", headers={"Retry-After": "5"}
        ) from None
    if planned.target == planned.seen.version and planned.completed is None:
        raise Problem(409, f"{planned.target} serves already.", kind="serves-already")
    return planned


def _carry_out(context: Context, row: dict[str, Any], planned: Plan) -> dict[str, Any]:
    """Move the pointer; the row as it is then, queued where store or warehouse failed meanwhile."""
    try:
        outcome = planned.completed or roll_back(
            context.open_models(),
            context.warehouse,
            row["model"],
            version=planned.target,
            asked_by=row["requested_by"],
            run_id=f"api:{row['id']}",
        )
        status, reason = ("done" if outcome.decision.promote else "refused"), outcome.decision.reason
        advance_request(context.warehouse, row["id"], status, outcome=reason)
    except (NoSuchVersion, ValueError) as error:
        status, reason = "failed", str(error)
        advance_request(context.warehouse, row["id"], status, outcome=reason)
    except (StoreError, SQLAlchemyError, MoveInterrupted) as error:
        logs.get("rollback").warning("rollback left to the sensor", request=row["id"], error=first_line(error))
        return row
    return {**row, "status": status, "outcome": reason}


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in WorkRequest.model_fields if name != "requested_at"}
    return {**shown, "requested_at": re.sub(r"\+00:00$", "", row["requested_at"].isoformat()) + "+00:00"}
