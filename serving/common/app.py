"""Builds a service: the endpoints every service has, its envelope, and start and stop in order.

`build` has no side effects outside the returned app; what a service opens, it opens in its lifespan hooks.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from accident_reco.settings import Settings
from serving.common import docs, logs, problems
from serving.common.envelope import Answered, Envelope, Lifecycle, RouteLimits
from serving.common.metrics import CONTENT_TYPE, Metrics
from serving.common.routing import StrictRoute


@dataclass(frozen=True)
class Readiness:
    """Whether a service can do its work now, with what a person needs to see why."""

    ready: bool
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Service:
    """What makes one service different from another."""

    name: str
    title: str
    description: str
    routers: Sequence[APIRouter]
    readiness: Callable[[], Readiness]
    lifespan: Callable[[], AbstractAsyncContextManager[None]]
    special_limits: Mapping[str, RouteLimits] = field(default_factory=dict)
    answered: Answered | None = None
    tags: Sequence[Mapping[str, str]] = ()


def new_router(*tags: str, needs: Any = None) -> APIRouter:
    """A router whose JSON bodies are read strictly; every endpoint of ours is on one.

    `needs` is what `Guard.needs(scope)` gives, for all of the router's endpoints; without it they are open.
    """
    return APIRouter(tags=list(tags), route_class=StrictRoute, dependencies=[needs] if needs is not None else [])


def metrics_directory(settings: Settings, service: str) -> Path:
    """Where the workers of a service keep metric values that `/metrics` adds up."""
    return settings.home / "run" / f"metrics-{service}"


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON by orjson; what it cannot write (NaN) becomes null, so an answer is always valid JSON."""
    return Response(
        orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), status, dict(headers or {}), "application/json"
    )


def build(settings: Settings, service: Service, metrics: Metrics) -> FastAPI:
    """The service's app."""
    lifecycle = Lifecycle()
    log = logs.get("lifecycle")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.lifespan():
            restore = _drain_before_exit(lifecycle, settings.drain_seconds)
            log.info("started")
            try:
                yield
            finally:
                lifecycle.draining = True
                restore()
        log.info("stopped")

    app = FastAPI(
        title=service.title,
        description=service.description,
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        openapi_tags=[dict(tag) for tag in service.tags],
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.lifecycle = lifecycle
    app.router.route_class = StrictRoute
    routers = [*service.routers, _operations(settings, service, metrics, lifecycle)]
    app.state.routers = routers
    for router in routers:
        app.include_router(router)
    docs.install(app, settings, routers)
    problems.install(app)
    app.add_middleware(
        Envelope,
        metrics=metrics,
        limits=usual_limits(settings),
        special=service.special_limits,
        lifecycle=lifecycle,
        answered=service.answered,
    )
    return app


def usual_limits(settings: Settings) -> RouteLimits:
    """Limits of every request that has no limits of its own."""
    return RouteLimits(settings.max_body_bytes, settings.request_seconds, settings.body_idle_seconds)


def _operations(settings: Settings, service: Service, metrics: Metrics, lifecycle: Lifecycle) -> APIRouter:
    """Liveness, readiness and metrics: open to whoever runs the service."""
    router = new_router("operations")

    @router.get("/livez", summary="The process runs", response_model=dict[str, str])
    async def livez() -> Response:
        return json_response({"status": "alive"})

    @router.get(
        "/readyz",
        summary="The service can do its work; 503 with the reason when it cannot",
        response_model=dict[str, Any],
        responses={503: {"description": "Not ready"}},
    )
    async def readyz() -> Response:
        readiness = service.readiness()
        ready = readiness.ready and not lifecycle.draining
        status = "draining" if lifecycle.draining else "ready" if ready else "not ready"
        return json_response({"status": status, **readiness.details}, 200 if ready else 503)

    @router.get(
        "/metrics",
        summary="Prometheus metrics; from loopback only, unless ACCIDENT_RECO_METRICS_PUBLIC is set",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems.responses(403)},
    )
    async def metrics_(request: Request) -> Response:
        if not settings.metrics_public and not _from_loopback(request):
            raise problems.Problem(403, "Metrics are for this machine only.", kind="metrics-not-public")
        directory = metrics_directory(settings, service.name)
        text = await asyncio.to_thread(metrics.exposition, directory)
        return Response(text, headers={"content-type": CONTENT_TYPE})

    return router


def _from_loopback(request: Request) -> bool:
    if any(name in request.headers for name in ("forwarded", "x-forwarded-for", "x-real-ip")):
        # A proxy on this machine speaks for somebody else.
        return False
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        # A test client has a name for an address.
        return False


def _drain_before_exit(lifecycle: Lifecycle, seconds: float) -> Callable[[], None]:
    """On SIGTERM say "not ready" first and keep answering for `seconds`, then let the server stop as it would.

    Returns what puts the server's own handlers back. Does nothing outside a server's main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    replaced: dict[int, Any] = {}

    def handler(number: int, frame: FrameType | None) -> None:
        stop = replaced[number]
        if lifecycle.draining:
            # Asked twice: at once.
            stop(number, frame)
            return
        lifecycle.draining = True
        loop.call_soon_threadsafe(loop.call_later, seconds, stop, number, None)

    for number in (signal.SIGTERM, signal.SIGINT):
        current = signal.getsignal(number)
        if getattr(current, "__name__", "") == "handle_exit":
            replaced[number] = current
            signal.signal(number, handler)

    def restore() -> None:
        for number, previous in replaced.items():
            signal.signal(number, previous)

    return restore
