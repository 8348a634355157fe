"""Builds a service: endpoints common to all services, middleware, ordered start and stop.

`build_app` has no side effects outside the returned app; a service opens its resources in its lifespan.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from accident_reco.settings import Settings
from serving.common import docs, logs, problems
from serving.common.draining import wait_until_quiet
from serving.common.exact_paths import ExactPaths
from serving.common.metrics import CONTENT_TYPE, Metrics, is_from_loopback
from serving.common.middleware import Lifecycle, RequestMiddleware, ResponseObserver, RouteLimits
from serving.common.routing import OPERATIONS, StrictRoute


@dataclass(frozen=True)
class Readiness:
    """Whether a service can do its work now, with the details that explain it."""

    ready: bool
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Service:
    """The parts in which one service differs from another.

    Args:
        readiness: called by `/readyz`; must be quick.
        lifespan: opens and closes the resources of the service.
        special_limits: exact path → limits, instead of the default ones.
        on_response: called after every response.
    """

    name: str
    title: str
    description: str
    routers: Sequence[APIRouter]
    readiness: Callable[[], Readiness]
    lifespan: Callable[[], AbstractAsyncContextManager[None]]
    special_limits: Mapping[str, RouteLimits] = field(default_factory=dict)
    on_response: ResponseObserver | None = None
    tags: Sequence[Mapping[str, str]] = ()


def build_router(*tags: str, requires: Any = None) -> APIRouter:
    """A router whose JSON bodies are parsed strictly; every endpoint is on one.

    Args:
        requires: dependency of all its endpoints, as `Guard.require(scope)` returns it; without it they are open.
    """
    return APIRouter(tags=list(tags), route_class=StrictRoute, dependencies=[] if requires is None else [requires])


def get_metrics_directory(settings: Settings, service: str) -> Path:
    """Directory in which the workers of a service keep the metric values that `/metrics` aggregates."""
    return settings.home / "run" / f"metrics-{service}"


class _JsonResponse(Response):
    """A response with the usual headers alone, which Starlette would find out each time."""

    media_type = "application/json"

    def __init__(self, body: bytes, status: int) -> None:
        self.status_code, self.background, self.body = status, None, body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response by orjson: numpy values are written, NaN becomes null, so that it is always valid JSON."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, dict(headers), "application/json") if headers else _JsonResponse(body, status)


def build_app(settings: Settings, service: Service, metrics: Metrics) -> FastAPI:
    """The app of a service; `/docs`, `/livez`, `/readyz` and `/metrics` are added to its own routers."""
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
        openapi_url=None,  # `docs` serves it
        lifespan=lifespan,
        openapi_tags=[dict(tag) for tag in service.tags],
        redirect_slashes=False,
        # `RequestMiddleware` measures and logs; looking for OpenTelemetry on every request would be for nothing.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.lifecycle = lifecycle
    app.router.route_class = StrictRoute
    routers = [*service.routers, _build_operations(settings, service, metrics, lifecycle)]
    app.state.routers = routers
    for router in routers:
        app.include_router(router)
    docs.install(app, settings, routers)
    problems.install(app)
    app.add_middleware(ExactPaths, routes=[route for router in routers for route in router.routes])
    # Added last: the outermost one.
    app.add_middleware(
        RequestMiddleware,
        metrics=metrics,
        limits=default_limits(settings),
        special=service.special_limits,
        lifecycle=lifecycle,
        on_response=service.on_response,
    )
    return app


def default_limits(settings: Settings) -> RouteLimits:
    """Limits of a request without special limits."""
    return RouteLimits(settings.max_body_bytes, settings.request_seconds, settings.body_idle_seconds)


def _build_operations(settings: Settings, service: Service, metrics: Metrics, lifecycle: Lifecycle) -> APIRouter:
    """Liveness, readiness and metrics; without authentication."""
    router = build_router(OPERATIONS)

    @router.get("/livez", summary="Liveness", response_model=dict[str, str])
    async def livez() -> Response:
        return json_response({"status": "alive"})

    @router.get(
        "/readyz",
        summary="Readiness; 503 with the reason where the service cannot do its work",
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
        summary="Prometheus metrics; from loopback only unless ACCIDENT_RECO_METRICS_PUBLIC is set",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems.responses(403)},
    )
    async def metrics_(request: Request) -> Response:
        if not settings.metrics_public and not is_from_loopback(request.scope):
            raise problems.Problem(403, "Metrics are available from this machine only.", kind="metrics-not-public")
        directory = get_metrics_directory(settings, service.name)
        text = await asyncio.to_thread(metrics.exposition, directory)
        return Response(text, headers={"content-type": CONTENT_TYPE})

    return router


def _drain_before_exit(lifecycle: Lifecycle, seconds: float) -> Callable[[], None]:
    """On SIGTERM or SIGINT, report "not ready" and keep serving for `seconds`, then until no request is on its way.

    Returns a function that restores the server's own handlers. Does nothing outside a server's main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    replaced: dict[int, Any] = {}
    tasks: list[asyncio.Task[None]] = []

    async def drain(number: int) -> None:
        await asyncio.sleep(seconds)
        server = replaced[number].__self__
        listeners = [each for listening in server.servers for each in listening.sockets]
        # Workers share their listeners: the process that started them closes these to new connections.
        await wait_until_quiet(listeners, server.server_state.connections, server.config.workers == 1)
        replaced[number](number, None)

    def handler(number: int, frame: FrameType | None) -> None:
        if lifecycle.draining:
            # The second signal stops at once.
            replaced[number](number, frame)
            return
        lifecycle.draining = True
        loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(drain(number))))

    for number in (signal.SIGTERM, signal.SIGINT):
        current = signal.getsignal(number)
        if getattr(current, "__name__", "") == "handle_exit":
            replaced[number] = current
            signal.signal(number, handler)

    def restore() -> None:
        for number, previous in replaced.items():
            signal.signal(number, previous)

    return restore
