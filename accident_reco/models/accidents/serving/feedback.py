"""`POST /feedback/accidents`: what turned out to be true, joined to the prediction it is about."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from accident_reco.storage import prediction_log
from serving.common.app import json_response, new_router
from serving.common.identity import principal_of
from serving.common.problems import Problem, responses
from serving.predict.context import Context

GRAVE: Final = frozenset({2, 3})


class AccidentFeedback(BaseModel):
    """The severity that turned out to be true for one prediction."""

    model_config = ConfigDict(extra="forbid")

    prediction_id: Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,40}$", description="Id from the prediction's answer")]
    severity: Annotated[
        int,
        Field(
            strict=True,
            ge=1,
            le=4,
            description="Official grav code: 1 unharmed, 2 killed, 3 hospitalised, 4 slightly injured",
        ),
    ]


class FeedbackAnswer(BaseModel):
    """What is kept."""

    prediction_id: str
    severity: int
    grave: bool = Field(description="Whether the severity counts as grave (2 or 3)")
    status: Literal["accepted", "known"] = Field(description="`known`: the same was said before")


def router(context: Context) -> APIRouter:
    """The endpoint."""
    routes = new_router("feedback", needs=context.guard.needs("feedback"))
    labels = context.metrics.counter("feedback", "Labels by outcome", ("model", "outcome"))

    @routes.post(
        "/feedback/accidents",
        summary="Say how a predicted case turned out",
        description="Whoever knows a prediction's id may label it; saying the same twice changes nothing. "
        "A prediction is in the log within a second of its answer.",
        response_model=FeedbackAnswer,
        responses=responses(404, 409, 410),
    )
    async def feedback_accidents(body: AccidentFeedback, request: Request) -> Response:
        principal = principal_of(request)
        found = await asyncio.to_thread(prediction_log.prediction, context.warehouse, body.prediction_id)
        if found is None or found["model"] != "accidents" or found["status"] != 200:
            raise Problem(404, "There is no such prediction (yet).", kind="no-such-prediction")
        now = datetime.now(UTC)
        window = timedelta(days=context.settings.feedback_window_days)
        if now - found["at"] > window:
            raise Problem(410, f"Labels are taken for {window.days} days after a prediction.", kind="too-late")
        grave = body.severity in GRAVE
        row = {
            "prediction_id": body.prediction_id, "model": "accidents", "severity": body.severity, "grave": grave,
            "user_name": principal.subject, "predicted_at": found["at"], "at": now,
        }  # fmt: skip
        kept, outcome = await asyncio.to_thread(prediction_log.add_feedback, context.warehouse, row)
        labels.labels("accidents", outcome).inc()
        if outcome == "other":
            raise Problem(409, "Another severity was said for this prediction before; the first one is kept.",
                          kind="contradicting-label", kept=kept["severity"])  # fmt: skip
        status = "known" if outcome == "same" else "accepted"
        answer = {"prediction_id": body.prediction_id, "severity": body.severity, "grave": grave, "status": status}
        return json_response(answer)

    return routes
