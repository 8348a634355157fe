"""The predict service, put together. Making the app opens nothing; its lifespan starts the slots."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI

from accident_reco.models.accidents.serving import csv_route
from accident_reco.models.accidents.serving import feedback as accident_feedback
from accident_reco.models.accidents.serving import routes as accidents
from accident_reco.models.movies.serving import feedback as movie_feedback
from accident_reco.models.movies.serving import routes as movies
from accident_reco.settings import Settings
from serving.common import logs
from serving.common.app import Readiness, Service, build
from serving.common.envelope import RouteLimits
from serving.common.metrics import Metrics
from serving.predict import models, rollback, training, v2
from serving.predict.context import Context, make_context
from serving.predict.loaders import LOADERS
from serving.predict.model_slot import Loader
from serving.predict.prediction_log import log_refusals

NAME = "predict"
# A store that does not answer keeps nobody from asking /livez, or the cache from serving.
FIRST_LOOK_SECONDS = 2.0
_TAGS = (
    {"name": "predict", "description": "Answers of the champions"},
    {"name": "feedback", "description": "What turned out to be true"},
    {"name": "models", "description": "What serves, and why"},
    {"name": "training", "description": "Ask for a training, see what came of it"},
    {"name": "open inference protocol", "description": "The same models for KServe and Triton clients"},
    {"name": "operations", "description": "Health and metrics"},
)


def create_app(settings: Settings, loaders: Mapping[str, Loader[Any]] | None = None) -> FastAPI:
    """The app. `loaders` replaces the table of models, for a test or an installation with one model only."""
    metrics = Metrics()
    context = make_context(settings, metrics, LOADERS if loaders is None else loaders)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        context.guard.start()
        context.log.start()
        for slot in context.slots.values():
            slot.start()
        # A worker that listened before it has a model would answer its first requests with 503.
        await asyncio.to_thread(_await_first_look, context)
        # What is loaded by now stays. A full collection that walked it would hold up whoever asks then for 50 ms.
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            for slot in context.slots.values():
                slot.stop()
            context.guard.stop()
            context.log.stop()
            context.warehouse.close()

    service = Service(
        name=NAME,
        title="accident_reco predict",
        description="Severity of road users' injuries and movie recommendations, answered by the promoted models.",
        routers=[
            accidents.router(context),
            csv_route.router(context),
            accident_feedback.router(context),
            *_movies(context),
            models.router(context),
            training.router(context),
            rollback.router(context),
            v2.health_router(context),
            v2.router(context),
        ],
        readiness=lambda: _readiness(context),
        lifespan=lifespan,
        tags=_TAGS,
        special_limits={
            csv_route.PATH: RouteLimits(settings.max_upload_bytes, settings.upload_seconds, settings.body_idle_seconds)
        },
        answered=log_refusals(context),
    )
    app = build(settings, service, metrics)
    app.state.context = context
    return app


def _movies(context: Context) -> list[APIRouter]:
    """The movie endpoints, where the installation has that model."""
    return [movies.router(context), movie_feedback.router(context)] if movies.MODEL in context.slots else []


def _await_first_look(context: Context) -> None:
    until = time.monotonic() + FIRST_LOOK_SECONDS
    for slot in context.slots.values():
        slot.await_first_look(max(0.0, until - time.monotonic()))


def _readiness(context: Context) -> Readiness:
    slots = context.slots.values()
    ready = all(slot.ready for slot in slots) and any(slot.current is not None for slot in slots)
    return Readiness(ready, {"models": {slot.name: slot.status() for slot in slots}, **context.guard.status()})


def app_of_process() -> FastAPI:
    """The app as a process runs it: settings from the environment, logging set up."""
    settings = Settings.load()
    logs.configure(NAME, settings.log_level)
    return create_app(settings)
