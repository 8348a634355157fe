"""Builds the predict service. Building the app opens no resources; its lifespan starts the slots."""

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
from serving.common.app import Readiness, Service, build_app
from serving.common.metrics import Metrics
from serving.predict import feedback, inspection, model_routes, rollback, runs, statistics, training, v2, version_routes
from serving.predict.context import Context, build_context
from serving.predict.model_slot import Loader
from serving.predict.refused_calls import log_refused_calls
from serving.predict.rollout import routes as rollout_routes

NAME = "predict"
# A store that does not respond must not delay /livez, nor serving from the cache, for longer.
FIRST_POLL_SECONDS = 2.0
# New containers between two collections. Of a thousand records 5,000 are made, hardly any in a cycle: Python's default
# of 700 would look through those that wait for the log again and again.
COLLECT_AFTER = 5_000
_TAGS = (
    {"name": "predict", "description": "Predictions of the champions"},
    {"name": "feedback", "description": "Outcomes of predictions"},
    {"name": "models", "description": "Versions of the models and their history"},
    {"name": "training", "description": "Request a training and follow it"},
    {"name": "open inference protocol", "description": "The same models for KServe and Triton clients"},
    {"name": "operations", "description": "Health and metrics"},
)


def create_app(settings: Settings, loaders: Mapping[str, Loader[Any]] | None = None) -> FastAPI:
    """The app with the models of the installation.

    Args:
        loaders: model name → loader, instead of the models' own loaders; models without one are left out.
    """
    metrics = Metrics()
    chosen = models(settings)
    if loaders is None:
        loaders = {name: model.serving().load for name, model in chosen.items()}
    context = build_context(settings, metrics, {name: chosen[name] for name in loaders}, loaders)
    servings = {name: model.serving() for name, model in context.models.items()}
    routers = {name: list(serving.routers(context)) for name, serving in servings.items()}
    for name, serving in servings.items():
        if serving.label is not None:
            routers[name].append(feedback.router(context, name, serving.label))

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        context.guard.start()
        context.log.start()
        for slot in context.slots.values():
            slot.start()
        # Without a model the first requests of a worker would fail with 503.
        await asyncio.to_thread(_start_serving, context)
        # Objects loaded by now stay: a full collection over them would delay a request by 50 ms.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
        try:
            yield
        finally:
            for rollout in context.rollouts.values():
                rollout.close()
            for slot in context.slots.values():
                slot.stop()
            context.guard.stop()
            await context.guard.close()
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
            version_routes.router(context),
            inspection.router(context),
            training.router(context),
            rollback.router(context),
            rollout_routes.router(context),
            rollout_routes.admin_router(context),
            statistics.router(context),
            runs.router(context),
            v2.health_router(context),
            v2.router(context),
        ],
        readiness=lambda: _check_readiness(context),
        lifespan=lifespan,
        tags=_TAGS,
        special_limits={
            **{f"/inspect/{name}": inspection.build_limits(settings) for name in servings},
            **{path: own for serving in servings.values() for path, own in serving.route_limits(settings).items()},
        },
        on_response=log_refused_calls(context),
    )
    app = build_app(settings, service, metrics)
    app.state.context = context
    return app


def _start_serving(context: Context) -> None:
    """Load the champions, then the challengers that answer beside them; within a limited time."""
    deadline = time.monotonic() + FIRST_POLL_SECONDS
    for slot in context.slots.values():
        slot.wait_for_first_poll(max(0.0, deadline - time.monotonic()))
    for rollout in context.rollouts.values():
        rollout.start()
    deadline = time.monotonic() + FIRST_POLL_SECONDS
    for rollout in context.rollouts.values():
        rollout.wait_for_first_poll(max(0.0, deadline - time.monotonic()))


def _check_readiness(context: Context) -> Readiness:
    slots = context.slots.values()
    ready = all(slot.ready for slot in slots) and any(slot.current is not None for slot in slots)
    lost = context.warehouse.problem
    details = {"models": {slot.name: slot.status() for slot in slots}, **context.guard.status()}
    return Readiness(ready and lost is None, details | ({"problem": lost} if lost else {}))


def create_process_app() -> FastAPI:
    """The app of a process: settings from the environment, logging configured."""
    settings = Settings.load()
    logs.configure(NAME, settings.log_level)
    return create_app(settings)
