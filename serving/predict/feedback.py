"""`POST /feedback/{model}`: the outcome of a prediction, for each model with a `contract.Label`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, create_model
from starlette.responses import Response

from accident_reco.contract import Label
from accident_reco.storage import prediction_log
from serving.common.app import build_router, json_response
from serving.common.identity import get_principal
from serving.common.problems import Problem, responses
from serving.predict.context import Context

PredictionId = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,40}$", description="Id from the prediction's response")]
Status = Annotated[Literal["accepted", "known"], Field(description="`known`: the same outcome was reported before")]


def router(context: Context, model: str, label: Label) -> APIRouter:
    """The endpoint of one model."""
    routes = build_router("feedback", requires=context.guard.require("feedback"))
    body_type = _build_request_type(label.body)
    response_type = label.answer or _build_response_type(label.body)

    async def report_outcome(body: BaseModel, request: Request) -> Response:
        prediction_id = str(body.prediction_id)  # type: ignore[attr-defined]
        prediction = await asyncio.to_thread(prediction_log.prediction, context.warehouse, prediction_id)
        if prediction is None or prediction["model"] != model or prediction["status"] != 200:
            raise Problem(404, "There is no such prediction (yet).", kind="no-such-prediction")
        now = datetime.now(UTC)
        window = timedelta(days=context.settings.feedback_window_days)
        if now - prediction["at"] > window:
            raise Problem(410, f"Outcomes are accepted for {window.days} days after a prediction.", kind="too-late")
        fields = body.model_dump(mode="json", exclude={"prediction_id"})
        row = {
            "prediction_id": prediction_id,
            "model": model,
            "label": fields,
            "outcome": label.outcome(body),
            "user_name": get_principal(request).subject,
            "predicted_at": prediction["at"],
            "at": now,
            **(label.stored(body) if label.stored else {}),
        }
        stored, outcome = await asyncio.to_thread(prediction_log.add_feedback, context.warehouse, row)
        context.predictions.labels.labels(model, outcome).inc()
        if outcome == "other":
            raise Problem(
                409,
                "Another outcome was reported for this prediction before; the first one stays.",
                kind="contradicting-label",
                kept=_simplify(stored["label"]),
            )
        shown = label.shown(body) if label.shown else fields
        status = "known" if outcome == "same" else "accepted"
        return json_response({"prediction_id": prediction_id, **shown, "status": status})

    report_outcome.__annotations__["body"] = body_type
    routes.post(
        f"/feedback/{model}",
        name=f"feedback_{model}",
        summary=label.summary,
        description="Clients that know the id of a prediction may label it; repeating an outcome changes nothing. "
        "A prediction is in the log within a second of its response.",
        response_model=response_type,
        responses=responses(404, 409, 410),
    )(report_outcome)
    return routes


@cache  # models with the same label have one schema in the documentation
def _build_request_type(body: type[BaseModel]) -> type[BaseModel]:
    return create_model(
        f"{body.__name__}Request", __base__=body, __doc__=body.__doc__, prediction_id=(PredictionId, ...)
    )


@cache
def _build_response_type(body: type[BaseModel]) -> type[BaseModel]:
    return create_model(f"{body.__name__}Response", __base__=body, prediction_id=(str, ...), status=(Status, ...))


def _simplify(label: dict[str, Any] | None) -> Any:
    """The value of a label with one field, else all its fields."""
    return next(iter(label.values())) if label and len(label) == 1 else label
