"""The predict service, put together. Making the app opens nothing; its lifespan starts the slots."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from accident_reco.registry import models
from accident_reco.settings import Settings
from serving.common import logs
from serving.common.app import Readiness, Service, build
from serving.common.metrics import Metrics
from serving.predict import feedback, model_routes, rollback, training, v2
from serving.predict.context import Context, make_context
from serving.predict.model_slot import Loader
from serving.predict.refused_calls import log_refused_calls

NAME = "predict"
# A store that does not answer keeps nobody from asking /livez, or the cache from serving.
FIRST_LOOK_SECONDS = 2.0
_TAGS = (
    {"name": "predict", "description": "Predictions of the champions"},
    {"name": "feedback", "description": "Outcomes of predictions"},
    {"name": "models", "description": "What serves, and why"},
    {"name": "training", "description": "Request a training, follow it"},
    {"name": "open inference protocol", "description": "The same models for KServe and Triton clients"},
    {"name": "operations", "description": "Health and metrics"},
)


def create_app(settings: Settings, loaders: Mapping[str, Loader[Any]] | None = None) -> FastAPI:
    """The app, with the models of the installation.

    Args:
        loaders: model name → loader, instead of the models' own; other models are left out.
    """
    metrics = Metrics()
    chosen = models(settings)
    if loaders is None:
        loaders = {name: model.serving().load for name, model in chosen.items()}
    context = make_context(settings, metrics, {name: chosen[name] for name in loaders}, loaders)
    halves = {name: model.serving() for name, model in context.models.items()}
    routers = {name: list(half.routers(context)) for name, half in halves.items()}
    for name, half in halves.items():
        if half.label is not None:
            routers[name].append(feedback.router(context, name, half.label))

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        context.guard.start()
        context.log.start()
        for slot in context.slots.values():
            slot.start()
        # A worker that listened before it has a model would answer its first requests with 503.
        await asyncio.to_thread(_await_first_look, context)
        # What is loaded by now stays. A full collection over it would delay a request by 50 ms.
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

    titles = "; ".join(model.title.lower() for model in context.models.values())
    service = Service(
        name=NAME,
        title="accident_reco predict",
        description=f"Predictions of the promoted models: {titles}.",
        routers=[
            *(router for own in routers.values() for router in own),
            model_routes.router(context),
            training.router(context),
            rollback.router(context),
            v2.health_router(context),
            v2.router(context),
        ],
        readiness=lambda: _readiness(context),
        lifespan=lifespan,
        tags=_TAGS,
        special_limits={
            path: limits for half in halves.values() for path, limits in half.route_limits(settings).items()
        },
        answered=log_refused_calls(context),
    )
    app = build(settings, service, metrics)
    app.state.context = context
    return app


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
