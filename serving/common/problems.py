"""Error responses: RFC 9457 problem+json with the request id. No value that a client sent is echoed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from serving.common import logs

MEDIA_TYPE = "application/problem+json"
# A response lists the first errors of a body, not those of all of a thousand records.
MAX_ERRORS = 20
_TYPE_PREFIX = "urn:accident-reco:problem:"


class FieldError(BaseModel):
    """One error in a request."""

    pointer: str = Field(description="JSON pointer into the body, or `query/name`, `path/name`, `header/name`")
    code: str = Field(description="Kind of error; stable, for programs")
    detail: str = Field(description="The violated rule, in words")


class ProblemDetails(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description="URI of the kind of problem; `about:blank` where the status is sufficient")
    title: str = Field(description="The kind of problem in words")
    status: int = Field(description="HTTP status code")
    detail: str | None = Field(None, description="Cause of this occurrence, and how to fix it")
    instance: str | None = Field(None, description="Path of the request")
    request_id: str | None = Field(None, description="Id of the request; also in the X-Request-ID header")
    errors: list[FieldError] | None = Field(None, description="Errors in the input; at most the first 20")


class Problem(HTTPException):
    """An error response. `kind` becomes the last part of the type URI; `members` are extension members."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str | None = None,
        title: str | None = None,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, str]] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(status_code=status, detail=detail, headers=headers)
        self.kind = kind
        self.title = title
        self.errors = errors
        self.members = members


def get_request_id(scope: Scope) -> str | None:
    """The request id that the middleware set."""
    return scope.get("state", {}).get("request_id")


def problem_response(
    scope: Scope,
    status: int,
    detail: str | None = None,
    *,
    kind: str | None = None,
    title: str | None = None,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Mapping[str, str]] | None = None,
    members: Mapping[str, Any] | None = None,
) -> Response:
    """A problem+json response."""
    body: dict[str, Any] = {
        "type": _TYPE_PREFIX + kind if kind else "about:blank",
        "title": title or (kind.replace("-", " ").capitalize() if kind else HTTPStatus(status).phrase),
        "status": status,
    }
    if detail:
        body["detail"] = detail
    body["instance"] = scope.get("path", "")
    body["request_id"] = get_request_id(scope)
    if errors:
        body["errors"] = list(errors)
    body.update(members or {})
    # A path is untrusted bytes: characters that UTF-8 cannot encode are replaced.
    body["instance"] = body["instance"].encode("utf-8", "replace").decode("utf-8")[:500]
    return Response(orjson.dumps(body, default=str), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def build_field_errors(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Pydantic's errors without the input values, at most `MAX_ERRORS`."""
    found = []
    for error in errors[:MAX_ERRORS]:
        location = [str(part) for part in error["loc"] if not str(part).startswith("form:")]
        found.append(
            {
                "pointer": "/".join(location)[:200],
                "code": str(error["type"]),
                "detail": str(error["msg"]).removeprefix("Value error, ")[:300],
            }
        )
    return found


def build_too_many_errors() -> str:
    """Detail of a problem with more errors than it lists."""
    return f"More than {MAX_ERRORS} errors in this request; the first {MAX_ERRORS} are listed"


def _collect_methods(request: Request) -> set[str]:
    # Starlette lists the methods of the first matching route only; several routes may share a path.
    path = request.scope["path"]
    routes = [
        route
        for router in request.app.state.routers
        for route in router.routes
        if isinstance(route, APIRoute) and route.path_regex.match(path)
    ]
    # A literal path is not one of the values of a parameter, as the document says it.
    literal = [route for route in routes if route.path == path]
    return {method for route in literal or routes for method in route.methods or ()}


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_collect_methods(request)))
    if isinstance(error, Problem):
        return problem_response(
            request.scope,
            error.status_code,
            error.detail,
            kind=error.kind,
            title=error.title,
            headers=headers,
            errors=error.errors,
            members=error.members,
        )
    detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else None
    return problem_response(request.scope, error.status_code, detail, headers=headers)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    detail = build_too_many_errors() if len(errors) > MAX_ERRORS else f"{len(errors)} error(s) in this request"
    return problem_response(request.scope, 422, detail, kind="invalid-request", errors=build_field_errors(errors))


async def _on_warehouse_error(request: Request, error: Exception) -> Response:
    logs.get("http").error("warehouse failed", request_id=get_request_id(request.scope), error=type(error).__name__)
    detail = "The warehouse is not available; retry later."
    return problem_response(request.scope, 503, detail, kind="warehouse-unavailable", headers={"Retry-After": "2"})


_HANDLERS: Final[Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]] = {
    **dict.fromkeys((OperationalError, InterfaceError, NoConnection), _on_warehouse_error),
    HTTPException: _on_http_exception,
    RequestValidationError: _on_validation_error,
}


def install(app: FastAPI) -> None:
    """Register handlers that turn every error of `app` into a problem."""
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)


async def respond(request: Request, error: Exception) -> Response:
    """The response to an error of an endpoint, by the same handlers. Raises the error where there is none."""
    for kind in type(error).__mro__:
        if kind in _HANDLERS:
            return await _HANDLERS[kind](request, error)
    raise error


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of the problems that an endpoint may return: status → entry."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
        for status in statuses
    }
