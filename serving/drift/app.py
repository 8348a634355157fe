"""The drift service, put together. Making the app opens nothing; its lifespan starts what follows the reports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from fastapi import FastAPI

from accident_reco.lifecycle.platform import OpenedPlatform
from accident_reco.registry import models
from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from serving.common import logs
from serving.common.app import Readiness, Service, build
from serving.common.envelope import RouteLimits
from serving.common.guard import make_guard
from serving.common.metrics import Metrics
from serving.drift import alerts, monitoring
from serving.drift.computing import Computations
from serving.drift.context import Context
from serving.drift.gauges import Gauges
from serving.drift.secret import alert_secret

NAME = "drift"
COMPUTE_SECONDS = 120.0
"""A check asked for now may have to load the drawing library first."""
_TAGS = (
    {"name": "drift", "description": "Verdicts, reports, history"},
    {"name": "alerts", "description": "Alertmanager's webhook"},
    {"name": "operations", "description": "Health and metrics"},
)


def create_app(settings: Settings) -> FastAPI:
    """The app."""
    metrics = Metrics()
    chosen = models(settings)
    warehouse = Warehouse(settings.database)
    context = Context(
        settings=settings,
        models=tuple(chosen),
        metrics=metrics,
        warehouse=warehouse,
        guard=make_guard(settings, warehouse),
        gauges=Gauges(metrics, warehouse, chosen),
        computations=Computations(OpenedPlatform(settings, warehouse), chosen, metrics),
        alert_secret=cache(lambda: alert_secret(settings)),
    )

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        context.alert_secret()
        context.guard.start()
        context.gauges.start()
        try:
            yield
        finally:
            context.gauges.stop()
            context.guard.stop()
            warehouse.close()

    service = Service(
        name=NAME,
        title="accident_reco drift",
        description="Has the world moved away from what the champions were trained on? Verdicts, reports, alerts.",
        routers=[monitoring.router(context), alerts.router(context)],
        readiness=lambda: _readiness(context),
        lifespan=lifespan,
        tags=_TAGS,
        special_limits={
            f"/monitoring/drift/{model}": RouteLimits(
                settings.max_body_bytes, COMPUTE_SECONDS, settings.body_idle_seconds
            )
            for model in chosen
        },
    )
    app = build(settings, service, metrics)
    app.state.context = context
    return app


def _readiness(context: Context) -> Readiness:
    problem = context.gauges.problem
    return Readiness(problem is None, ({"problem": problem} if problem else {}) | context.guard.status())


def app_of_process() -> FastAPI:
    """The app as a process runs it: settings from the environment, logging set up."""
    settings = Settings.load()
    logs.configure(NAME, settings.log_level)
    return create_app(settings)
