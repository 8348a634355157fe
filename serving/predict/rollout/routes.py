"""`GET /models/{model}/rollout`, `POST …/advance` and `…/abort`: follow a rollout, and decide on it as a person."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from accident_reco.lifecycle.intents import MoveInterrupted
from accident_reco.lifecycle.rollout.control import abort, carry_out, settle
from accident_reco.lifecycle.rollout.decision import Step
from accident_reco.lifecycle.rollout.state import Rollout, read_rollout
from accident_reco.storage.objects import StoreError, SwapConflict
from serving.common.app import build_router, json_response
from serving.common.identity import get_principal
from serving.common.problems import Problem, responses
from serving.predict.context import Context
from serving.predict.model_routes import ModelName, get_slot


class RolloutDecision(BaseModel):
    """A decision on a rollout."""

    at: str
    action: str = Field(description="start, advance, promote, back, abort, replace or end")
    reason: str
    share: float = Field(description="Share of the traffic that the challenger answers afterwards")
    by: str = Field(description="Account or component that decided")


class RolloutAnswer(BaseModel):
    """The latest rollout of a model."""

    model: str
    state: Literal["running", "promoted", "rolled_back", "aborted", "replaced", "superseded"]
    mode: Literal["shadow", "canary"]
    champion: str
    challenger: str
    share: float
    steps: list[float]
    since: str
    step_since: str
    ends: str
    rule: dict[str, Any] = Field(description="The conditions, as they were at the start")
    decisions: list[RolloutDecision]
    latest: dict[str, Any] | None = Field(description="The newest evaluation: time, action and reason")
    curve: list[dict[str, Any]] = Field(
        description="The evidence of each evaluation: differences as shares of the loss"
    )


class Reason(BaseModel):
    """Why a person decides."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=3, max_length=500, description="Recorded in the audit unchanged")


def router(context: Context) -> APIRouter:
    """The endpoint for reading."""
    routes = build_router("models", requires=context.guard.require("predict"))

    @routes.get(
        "/models/{model}/rollout",
        summary="Get the latest rollout of a model",
        response_model=RolloutAnswer,
        responses=responses(404, 503),
    )
    async def get_rollout(model: ModelName) -> Response:
        name = get_slot(context, model).name
        state = await asyncio.to_thread(_guarded, lambda: read_rollout(context.open_models(), name))
        if state is None:
            raise Problem(404, f"{name} has had no rollout.", kind="no-rollout")
        return json_response(_build_answer(state))

    return routes


def admin_router(context: Context) -> APIRouter:
    """The endpoints for deciding."""
    routes = build_router("models", requires=context.guard.require("admin"))

    async def decide(model: str, request: Request, reason: str, action: Literal["advance", "abort"]) -> Response:
        name, subject = get_slot(context, model).name, get_principal(request).subject
        state = await asyncio.to_thread(_guarded, lambda: _decide(context, name, subject, reason, action))
        return json_response(_build_answer(state))

    @routes.post(
        "/models/{model}/rollout/advance",
        summary="Advance a rollout",
        description="To the next step of a canary; from the last step, and from a shadow, to champion.",
        response_model=RolloutAnswer,
        responses=responses(404, 409, 503),
    )
    async def advance_rollout(model: ModelName, request: Request, body: Reason) -> Response:
        return await decide(model, request, body.reason, "advance")

    @routes.post(
        "/models/{model}/rollout/abort",
        summary="Abort a rollout",
        description="The champion answers everything again.",
        response_model=RolloutAnswer,
        responses=responses(404, 409, 503),
    )
    async def abort_rollout(model: ModelName, request: Request, body: Reason) -> Response:
        return await decide(model, request, body.reason, "abort")

    return routes


def _decide(context: Context, model: str, subject: str, reason: str, action: Literal["advance", "abort"]) -> Rollout:
    models, now = context.open_models(), datetime.now(UTC)
    state = settle(models, context.warehouse, model, now)
    if state is None or not state.is_running:
        ended = f"; the latest one ended: {state.outcome}" if state else ""
        raise Problem(409, f"No rollout of {model} is running{ended}.", kind="no-rollout")
    if action == "abort":
        return abort(models, context.warehouse, state, by=subject, reason=reason, now=now)
    larger = next((share for share in state.steps if share > state.share), None)
    step = Step("promote", reason, 1.0) if larger is None else Step("advance", reason, larger)
    return carry_out(models, context.warehouse, state, step, by=subject, now=now)


def _guarded(read: Any) -> Any:
    """The result of a function that uses store and warehouse, with their failures as problems."""
    try:
        return read()
    except SwapConflict:
        raise Problem(409, "The rollout has just changed; read it again.", kind="rollout-changed") from None
    except (StoreError, OSError, SQLAlchemyError, MoveInterrupted, ValueError) as error:
        raise Problem(
            503,
            f"The rollout cannot be read or changed now: {error}"[:300],
            kind="store-down",
            headers={"Retry-After": "5"},
        ) from None


def _build_answer(state: Rollout) -> dict[str, Any]:
    shown = {name: value for name, value in state.document().items() if name in RolloutAnswer.model_fields}
    decisions = [{name: row[name] for name in RolloutDecision.model_fields} for row in state.decisions]
    return {**shown, "state": state.outcome or "running", "decisions": decisions}
