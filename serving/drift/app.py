"""Builds the drift service. Building the app opens no resources; its lifespan starts the gauges."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from fastapi import FastAPI

from accident_reco.drift.alert_secret import load_alert_secret
from accident_reco.lifecycle.platform import OpenedPlatform
from accident_reco.registry import models
from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from serving.common import logs
from serving.common.app import Readiness, Service, build_app
from serving.common.guard import build_guard
from serving.common.metrics import Metrics
from serving.common.middleware import RouteLimits
from serving.drift import alerts, monitoring, report_page
from serving.drift.computing import Computations
from serving.drift.context import Context
from serving.drift.gauges import Gauges

NAME = "drift"
COMPUTE_SECONDS = 120.0
"""The first check on request also imports the plotting library."""
_TAGS = (
    {"name": "drift", "description": "Verdicts, reports, history"},
    {"name": "alerts", "description": "Alertmanager's webhook"},
    {"name": "operations", "description": "Health and metrics"},
)


def create_app(settings: Settings) -> FastAPI:
    """The app with the models of the installation."""
    metrics = Metrics()
    chosen = models(settings)
    warehouse = Warehouse(settings.database, must_exist=True)
    platform = OpenedPlatform(settings, warehouse)
    context = Context(
        settings=settings,
        models=tuple(chosen),
        metrics=metrics,
        warehouse=warehouse,
        guard=build_guard(settings, warehouse),
        gauges=Gauges(metrics, warehouse, chosen, settings.home),
        computations=Computations(platform, chosen, metrics),
        alert_secret=cache(lambda: load_alert_secret(settings)),
        column_texts=cache(lambda name: chosen[name].serving().columns()),
        partitions=lambda name: chosen[name].serving().partitions(platform),
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
            await context.guard.close()
            warehouse.close()

    service = Service(
        name=NAME,
        title="accident_reco drift",
        description="Compares current data with the training data of the champions: verdicts, reports, alerts.",
        routers=[monitoring.router(context), *report_page.routers(context), alerts.router(context)],
        readiness=lambda: _check_readiness(context),
        lifespan=lifespan,
        tags=_TAGS,
        special_limits={
            path: RouteLimits(settings.max_body_bytes, seconds, settings.body_idle_seconds)
            for path, seconds in {
                "/monitoring/drift": COMPUTE_SECONDS * len(chosen),
                **{f"/monitoring/drift/{model}": COMPUTE_SECONDS for model in chosen},
            }.items()
        },
    )
    app = build_app(settings, service, metrics)
    app.state.context = context
    return app


def _check_readiness(context: Context) -> Readiness:
    problem = context.warehouse.problem or context.gauges.problem
    return Readiness(problem is None, ({"problem": problem} if problem else {}) | context.guard.status())


def create_process_app() -> FastAPI:
    """The app of a process: settings from the environment, logging configured."""
    settings = Settings.load()
    logs.configure(NAME, settings.log_level)
    return create_app(settings)
