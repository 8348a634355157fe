"""The level of a request's line: what an error panel counts."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.common.metrics import Metrics
from serving.common.middleware import Lifecycle, RequestMiddleware, RouteLimits


async def answer(request: Request) -> Response:
    """The status in the path, or an exception."""
    if request.url.path == "/crash":
        raise RuntimeError("boom")
    return Response(status_code=int(request.query_params["status"]))


@pytest.mark.parametrize(
    ("path", "level"),
    [
        ("/x?status=200", "info"),
        ("/x?status=422", "info"),
        ("/x?status=500", "error"),
        ("/x?status=503", "error"),
        ("/crash", "error"),
        ("/readyz?status=503", "warning"),
    ],
)
def test_server_errors_are_errors(path: str, level: str) -> None:
    """A client's mistake is none; a service that is not ready yet is a state."""
    inner = Starlette(routes=[Route("/{path:path}", answer)])
    limits = RouteLimits(1000, 5.0, 5.0)
    with structlog.testing.capture_logs() as lines:
        app = RequestMiddleware(inner, metrics=Metrics(), limits=limits, special={}, lifecycle=Lifecycle())

        async def get() -> None:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                await client.get(path)

        asyncio.run(get())
    (line,) = [line for line in lines if line["event"] == "request"]
    assert line["log_level"] == level
