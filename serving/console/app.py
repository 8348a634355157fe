"""Builds the console. Building the app opens no resources; its lifespan opens the HTTP clients and the warehouse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
from fastapi import APIRouter, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from accident_reco.registry import models
from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from serving.common import logs
from serving.common.app import Readiness, Service, build_app, default_limits
from serving.common.metrics import Metrics
from serving.console import login
from serving.console.context import Console
from serving.console.default_pages import default_pages
from serving.console.metric_history import MetricHistory
from serving.console.page import render_problem
from serving.console.pages import SECTIONS
from serving.console.problem_pages import describe_http_problem
from serving.console.prometheus import Prometheus
from serving.console.protection import HEADERS
from serving.console.rendering import Renderer
from serving.console.sessions import Sessions
from serving.console.static_files import StaticFile, read_static_files

NAME = "console"
_PACKAGE = "serving.console"
_TAGS = ({"name": "operations", "description": "Health and metrics"},)


def create_app(settings: Settings) -> FastAPI:
    """The app with the pages of the installation's models."""
    metrics = Metrics()
    chosen = models(settings)
    pages = {name: model.console() or default_pages(model) for name, model in chosen.items()}
    clients = {service: httpx.AsyncClient(base_url=url) for service, url in settings.api_urls.items()}
    warehouse = Warehouse(settings.database, must_exist=True)
    history = MetricHistory(settings.api_urls)
    prometheus = httpx.AsyncClient(base_url=settings.prometheus_url) if settings.prometheus_url else None
    packages = {name: brought.package for name, brought in pages.items() if brought.package}
    static = read_static_files({"": _PACKAGE, **packages})
    console = Console(
        settings=settings,
        metrics=metrics,
        models=chosen,
        clients=clients,
        sessions=Sessions(settings, warehouse, clients["auth"]),
        renderer=Renderer(packages, static, settings.page_urls),
        figures=Prometheus(prometheus) if prometheus else history,
        navigation=[
            *(link for section in SECTIONS if section.is_first for link in section.links),
            *(link for brought in pages.values() for link in brought.links),
            *(link for section in SECTIONS if not section.is_first for link in section.links),
        ],
    )

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        if prometheus is None:
            history.start()
        try:
            yield
        finally:
            if prometheus is None:
                history.stop()
            for client in (*clients.values(), *([prometheus] if prometheus else [])):
                await client.aclose()
            warehouse.close()

    limits = default_limits(settings)
    service = Service(
        name=NAME,
        title="accident_reco console",
        description="Pages for people over the other services.",
        routers=[
            _build_static(static),
            login.router(console),
            *(router for section in SECTIONS for router in section.routers(console)),
            *(router for brought in pages.values() for router in brought.routers(console)),
        ],
        readiness=lambda: Readiness(warehouse.problem is None, _describe_problem(warehouse)),
        lifespan=lifespan,
        tags=_TAGS,
        special_limits={
            "/login": replace(limits, body_bytes=min(login.MAX_FORM_BYTES, limits.body_bytes)),
            **{path: own for section in SECTIONS for path, own in section.limits(settings).items()},
            **{path: own for brought in pages.values() for path, own in brought.limits(settings).items()},
        },
    )
    app = build_app(settings, service, metrics)
    _show_problems_as_pages(app, console)
    app.state.context = console
    return app


def _describe_problem(warehouse: Warehouse) -> dict[str, str]:
    return {} if warehouse.problem is None else {"problem": warehouse.problem}


def _build_static(static: Mapping[str, StaticFile]) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/static/{path:path}")
    async def read_static(path: str, request: Request, v: str = "") -> Response:
        file = static.get(path)
        if file is None:
            raise HTTPException(404)
        # The version is part of the address: such a response never changes.
        lifetime = "public, max-age=31536000, immutable" if v == file.version else "no-cache"
        headers = {"cache-control": lifetime, "vary": "accept-encoding", "etag": f'"{file.version}"', **HEADERS}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(file.compressed, headers=headers | {"content-encoding": "gzip"}, media_type=file.type)
        return Response(file.content, headers=headers, media_type=file.type)

    return routes


def _show_problems_as_pages(app: FastAPI, console: Console) -> None:
    """Errors outside of a page, such as an unknown address, as a page for browsers; others get problem+json."""
    as_json = app.exception_handlers[HTTPException]

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if "text/html" not in request.headers.get("accept", ""):
            return await as_json(request, error)  # type: ignore[misc]
        response = render_problem(request, console, None, describe_http_problem(error))
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    app.add_exception_handler(HTTPException, on_http_exception)


def create_process_app() -> FastAPI:
    """The app of a process: settings from the environment, logging configured."""
    settings = Settings.load()
    logs.configure(NAME, settings.log_level)
    return create_app(settings)
