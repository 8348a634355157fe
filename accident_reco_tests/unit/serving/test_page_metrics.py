"""The pages of Dagster and MLflow are measured by their guard: those programs have no metrics of their own."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from accident_reco.settings import Settings
from serving.guard.app import PageGuard, build_page_guard


async def page(request: Request) -> Response:
    """A page, or an error."""
    if request.url.path == "/broken":
        raise RuntimeError("broken")
    return Response("page")


def guarded(**settings: object) -> PageGuard:
    app = Starlette(routes=[Route("/{path:path}", page, methods=["GET", "POST"])])
    return build_page_guard(app, Settings.load().model_copy(update=settings), "mlflow")


def get(guard: PageGuard, *paths: str, client: str = "127.0.0.1", host: str = "localhost") -> list[httpx.Response]:
    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(guard, raise_app_exceptions=False, client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:5000") as web:
            return [await web.get(path) for path in paths]

    return asyncio.run(send())


def test_requests_are_counted_by_program_and_status() -> None:
    """Not by path, which is a client's text; refused requests count too."""
    guard = guarded()
    get(guard, "/one", "/two", "/broken")
    assert get(guard, "/", host="other.example")[0].status_code == 403
    (metrics,) = get(guard, "/metrics")
    assert metrics.status_code == 200
    for status, count in {"200": 2, "500": 1, "403": 1}.items():
        assert f'http_requests_total{{method="GET",route="mlflow",status="{status}"}} {count}.0' in metrics.text
    assert "/one" not in metrics.text


@pytest.mark.parametrize(("public", "status"), [(False, 403), (True, 200)])
def test_metrics_are_for_this_machine_unless_they_are_public(public: bool, status: int) -> None:
    """As those of the services."""
    (answer,) = get(guarded(metrics_public=public), "/metrics", client="10.0.0.7")
    assert answer.status_code == status
