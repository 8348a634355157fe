"""Endpoints that are called without FastAPI's solver answer as they do with it, in results and in errors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import httpx
import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Form, Header, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from serving.common import problems
from serving.common.app import json_response
from serving.common.exact_paths import ExactPaths
from serving.common.routing import StrictRoute


class Item(BaseModel):
    """A body."""

    model_config = ConfigDict(extra="forbid")

    number: int
    word: str = "none"


class SolvedRoute(StrictRoute):
    """The same route, called by FastAPI."""

    is_plain = False


async def ordinary(
    body: Item,
    request: Request,
    flag: bool = False,
    limit: Annotated[int, Query(ge=1, le=5)] = 2,
    kind: Annotated[Literal["a", "b"] | None, Query(alias="type")] = None,
) -> Response:
    """Everything that a plain call may have."""
    shown = [request.url.path, body.model_dump(), flag, limit, kind]
    return json_response(shown)


async def optional_body(body: Item | None = None) -> Response:
    """A body that may be absent."""
    return json_response(body.model_dump() if body else None)


async def needs_query(limit: int) -> Response:
    """A required parameter."""
    return json_response(limit)


async def named(name: Annotated[str, Query(max_length=3)], path: Literal["x", "y"]) -> Response:
    """A parameter of the path."""
    return json_response([path, name])


def build(route_class: type[StrictRoute]) -> FastAPI:
    router = APIRouter(route_class=route_class)
    router.post("/ordinary")(ordinary)
    router.post("/optional")(optional_body)
    router.get("/query")(needs_query)
    router.get("/named/{path}")(named)
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.include_router(router)
    app.add_middleware(ExactPaths, routes=router.routes)
    app.state.routers = [router]
    problems.install(app)
    return app


REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "valid": ("POST", "/ordinary?flag=true&limit=5&type=a", {"json": {"number": 1, "word": "w"}}),
    "defaults": ("POST", "/ordinary", {"json": {"number": 1}}),
    "twice": ("POST", "/ordinary?limit=1&limit=3", {"json": {"number": 1}}),
    "both wrong": ("POST", "/ordinary?flag=perhaps&limit=9&type=", {"json": {"number": "x", "more": 1}}),
    "unknown parameter": ("POST", "/ordinary?nothing=1", {"json": {"number": 1}}),
    "empty value": ("POST", "/ordinary?limit=", {"json": {"number": 1}}),
    "no object": ("POST", "/ordinary", {"json": [1]}),
    "null": ("POST", "/ordinary", {"json": None}),
    "no JSON": ("POST", "/ordinary", {"content": b"{", "headers": {"content-type": "application/json"}}),
    "no body": ("POST", "/ordinary", {"headers": {"content-type": "application/json"}}),
    "no type": ("POST", "/ordinary", {"content": b"{}"}),
    "another method": ("PUT", "/ordinary", {"json": {}}),
    "optional": ("POST", "/optional", {"json": {"number": 2}}),
    "optional and absent": ("POST", "/optional", {}),
    "optional and wrong": ("POST", "/optional", {"json": {}}),
    "required parameter": ("GET", "/query?limit=3", {}),
    "required parameter absent": ("GET", "/query", {}),
    "path": ("GET", "/named/x?name=abc", {}),
    "path wrong": ("GET", "/named/z?name=abcd", {}),
    "no such path": ("GET", "/ordinary/", {}),
}


def ask(app: FastAPI, method: str, path: str, parts: Mapping[str, Any]) -> tuple[int, Any, dict[str, str]]:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **parts)

    answer = asyncio.run(send())
    return answer.status_code, answer.json(), dict(answer.headers)


@pytest.mark.parametrize("case", REQUESTS)
def test_the_answer_is_that_of_the_solver(case: str) -> None:
    """Status, body and headers."""
    assert ask(build(StrictRoute), *REQUESTS[case]) == ask(build(SolvedRoute), *REQUESTS[case])


def test_a_client_that_leaves_while_it_sends() -> None:
    """Its request ends like any body that cannot be read, not as an error of the service."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/ordinary",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(build(StrictRoute)(scope, receive, send))
    assert sent[0]["status"] == 400


async def with_header(accept: Annotated[str, Header()] = "") -> Response:
    """FastAPI's to solve."""
    return json_response(accept)


async def with_form(name: Annotated[str, Form()]) -> Response:
    """FastAPI's to parse."""
    return json_response(name)


async def with_two_bodies(one: Item, two: Item) -> Response:
    """FastAPI's to put together."""
    return json_response([one, two])


async def with_embedded_body(one: Annotated[Item, Body(embed=True)]) -> Response:
    """FastAPI's to take apart."""
    return json_response(one)


async def with_list(ids: Annotated[list[int] | None, Query()] = None) -> Response:
    """FastAPI's to collect."""
    return json_response(ids)


async def with_dependency(one: Annotated[str, Depends(lambda: "x")]) -> Response:
    """FastAPI's to call."""
    return json_response(one)


async def with_model() -> dict[str, int]:
    """FastAPI's to serialize."""
    return {}


def with_thread(request: Request) -> Response:
    """FastAPI's to run in a thread."""
    return json_response(request.method)


@pytest.mark.parametrize("endpoint", [ordinary, optional_body, needs_query])
def test_what_is_called_plainly(endpoint: Any) -> None:
    """Scalars, one body and the request."""
    assert StrictRoute("/x", endpoint, methods=["POST"]).is_plain


@pytest.mark.parametrize(
    "endpoint",
    [
        *(with_header, with_form, with_two_bodies, with_embedded_body, with_list, with_dependency, with_model),
        with_thread,
    ],
)
def test_what_fastapi_calls(endpoint: Any) -> None:
    """Everything else."""
    assert not StrictRoute("/x", endpoint, methods=["POST"]).is_plain
