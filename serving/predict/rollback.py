"""`POST /models/{model}/rollback`: restores an older version at once.

The request is recorded first: if this process ends before it moves the pointer, or cannot reach the store, the
platform's sensor moves it.
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
from accident_reco.lifecycle.rollback import (
    Plan,
    UncertainChampion,
    carry_out,
    find_champion_offline,
    find_target_offline,
    plan,
)
from accident_reco.lifecycle.store import NoEarlierVersion, NoSuchVersion, Pointer
from accident_reco.storage.objects import StoreError
from accident_reco.storage.work_requests import advance_request, request_by_key, request_work
from serving.common import logs
from serving.common.app import build_router, json_response
from serving.common.identity import get_principal
from serving.common.problems import Problem, responses
from serving.predict.context import Context
from serving.predict.model_routes import ModelName, get_slot

_VERSION: Final = r"^[0-9a-f]{16}$"


class RollbackRequest(BaseModel):
    """The version to restore, and the reason."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[str, Field(pattern=_VERSION)] | None = Field(
        None, description="Version from `GET /models/{model}`; absent: the latest one that was not rolled back itself"
    )
    reason: str = Field(
        "requested through the API", min_length=3, max_length=500, description="Recorded in the audit unchanged"
    )


class WorkRequest(BaseModel):
    """A queued request."""

    id: str
    kind: str
    model: str
    status: str
    requested_by: str
    reason: str
    requested_at: str
    outcome: str | None = Field(description="Result with its reason; null while the request is queued")


def router(context: Context) -> APIRouter:
    """The endpoint."""
    routes = build_router("models", requires=context.guard.require("admin"))

    @routes.post(
        "/models/{model}/rollback",
        summary="Roll back to an older version",
        description="Without a body, to the latest version that was not rolled back itself. Moves the pointer and "
        "audits the move; every predict process follows within a second. While the store cannot be reached, or where "
        "the warehouse fails after the request was recorded, the request stays queued (202) and a sensor completes it. "
        "The same `Idempotency-Key` returns the same request.",
        response_model=WorkRequest,
        responses={202: {"description": "Queued", "model": WorkRequest}, **responses(404, 409, 503)},
    )
    async def rollback(
        model: ModelName,
        request: Request,
        body: RollbackRequest | None = None,
        idempotency_key: Annotated[str | None, Header(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = None,
    ) -> Response:
        name = get_slot(context, model).name
        champion = context.champion(model)  # Problem 503 where none serves
        row = await asyncio.to_thread(
            _record_and_execute,
            context,
            champion.pointer,
            name,
            body or RollbackRequest.model_validate({}),
            get_principal(request).subject,
            f"rollback:{name}:{idempotency_key}" if idempotency_key else None,
        )
        return json_response(_build_response(row), 202 if row["status"] == "queued" else 200)

    return routes


def _record_and_execute(
    context: Context, served: Pointer, model: str, body: RollbackRequest, requested_by: str, dedupe_key: str | None
) -> dict[str, Any]:
    """Record the request and, unless the store is down, execute it; returns its row afterwards."""
    existing = request_by_key(context.warehouse, dedupe_key) if dedupe_key else None
    if existing is not None:
        return existing
    planned = _plan(context, model, body.version)
    if planned:
        target, replaces = planned.target, planned.expected.version
    else:
        target = _find_target_offline(context, served, model, body.version)
        replaces = find_champion_offline(context.warehouse, model, served)
    row, new = request_work(
        context.warehouse,
        kind="rollback",
        model=model,
        source="api",
        requested_by=requested_by,
        reason=body.reason,
        detail={"version": target, "replaces": replaces},
        dedupe_key=dedupe_key,
    )
    return _execute(context, row, planned) if planned and new else row


def _plan(context: Context, model: str, version: str | None) -> Plan | None:
    """The plan of a rollback; None where the store cannot be reached."""
    try:
        models = context.open_models()
        planned = plan(models, context.warehouse, model, version)
        models.manifest(model, planned.target)
    except NoEarlierVersion as error:
        raise _nothing_earlier(error) from None
    except NoSuchVersion:
        detail = "The store has no such version; GET /models/{model} lists them."
        raise Problem(404, detail, kind="no-such-version") from None
    except (OSError, StoreError) as error:
        logs.get("rollback").warning("rollback left to the sensor", model=model, error=first_line(error))
        return None
    except (RuntimeError, ValueError):
        raise _store_down("The model store cannot be read now.") from None
    if planned.target == planned.expected.version and planned.completed is None:
        raise Problem(409, f"{planned.target} serves already.", kind="serves-already")
    return planned


def _find_target_offline(context: Context, served: Pointer, model: str, version: str | None) -> str:
    try:
        return find_target_offline(context.warehouse, model, served, version)
    except NoEarlierVersion as error:
        raise _nothing_earlier(error) from None
    except UncertainChampion as error:
        raise _store_down(f"The model store cannot be read now, and {error}; name the version to restore.") from None


def _nothing_earlier(error: NoEarlierVersion) -> Problem:
    return Problem(409, f"{error}.", kind="nothing-to-roll-back-to")


def _store_down(detail: str) -> Problem:
    return Problem(503, detail, kind="store-down", headers={"Retry-After": "5"})


def _execute(context: Context, row: dict[str, Any], planned: Plan) -> dict[str, Any]:
    """Move the pointer; returns the row afterwards, still queued where the store or the warehouse failed."""
    try:
        outcome = carry_out(
            context.open_models(),
            context.warehouse,
            row["model"],
            planned,
            requested_by=row["requested_by"],
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


def _build_response(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in WorkRequest.model_fields if name != "requested_at"}
    return {**shown, "requested_at": re.sub(r"\+00:00$", "", row["requested_at"].isoformat()) + "+00:00"}
