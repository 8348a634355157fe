"""`GET /stats`: how much data, traffic and feedback there is, and how varied the latest recommendations are."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from accident_reco.storage.prediction_log import count_logged
from serving.common.app import build_router, json_response
from serving.common.problems import responses
from serving.predict.context import Context

# Counting reads whole tables of some databases.
CACHE_SECONDS: Final = 15.0


class ModelStatistics(BaseModel):
    """Numbers of one model, with those that only this model has."""

    model_config = ConfigDict(extra="allow")

    predictions: int = Field(description="Logged predictions, since the retention began")
    refused: int = Field(description="Logged requests that were refused or failed")
    feedback: int = Field(description="Reported outcomes of predictions")


class Statistics(BaseModel):
    """Numbers of all models."""

    computed_at: datetime = Field(description="UTC; the numbers are repeated for some seconds")
    models: dict[str, ModelStatistics]


class _Cache:
    """The last answer. One computation at a time: those who ask meanwhile wait for it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = asyncio.Lock()
        self._answer: dict[str, Any] = {}
        self._until = 0.0

    async def get(self) -> dict[str, Any]:
        async with self._lock:
            if time.monotonic() >= self._until:
                self._answer = await asyncio.to_thread(_compute, self._context)
                self._until = time.monotonic() + CACHE_SECONDS
            return self._answer


def router(context: Context) -> APIRouter:
    """The endpoint."""
    routes = build_router("models", requires=context.guard.require("monitor"))
    cache = _Cache(context)

    @routes.get(
        "/stats",
        summary="Numbers of rows, predictions and feedback; live diversity and coverage of recommendations",
        response_model=Statistics,
        responses=responses(503),
    )
    async def stats() -> Response:
        return json_response(await cache.get())

    return routes


def _compute(context: Context) -> dict[str, Any]:
    counts = count_logged(context.warehouse)
    found = {}
    for name, model in context.models.items():
        current = context.slots[name].current
        own = model.serving().statistics(context.platform, current.model if current else None)
        found[name] = {**counts.get(name, {"predictions": 0, "refused": 0, "feedback": 0}), **own}
    return {"computed_at": datetime.now(UTC).isoformat(timespec="seconds"), "models": found}
