"""Calls an endpoint that takes nothing but scalars, one JSON body and the request, without FastAPI's dependency solver.

FastAPI still declares, documents and validates such an endpoint; only its generic solver, which takes longer than a
prediction, is left out. Values and errors are those of the solver. FastAPI itself calls every other endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import iscoroutinefunction
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from serving.common.guard import Precondition

_SCALARS: Final = (bool, int, float, str, type(None))
_ABSENT: Final[Any] = object()


def can_call_plainly(dependant: Dependant) -> bool:
    """Whether `PlainCall` can call an endpoint; whatever else an endpoint declares is FastAPI's to solve."""
    call, bodies = dependant.call, dependant.body_params
    to_solve = (
        *(dependant.header_params, dependant.cookie_params),
        *(dependant.http_connection_param_name, dependant.response_param_name),
        *(dependant.background_tasks_param_name, dependant.security_scopes_param_name),
        # `StrictRoute` has checked the preconditions; as dependencies they do nothing.
        *(part for part in dependant.dependencies if not isinstance(part.call, Precondition)),
    )
    return (
        iscoroutinefunction(call)
        and call.__annotations__.get("return") in (Response, "Response")
        and not any(to_solve)
        and all(_is_scalar(field.field_info.annotation) for field in (*dependant.path_params, *dependant.query_params))
        and len(bodies) <= 1
        and not any(isinstance(body.field_info, Form) or getattr(body.field_info, "embed", None) for body in bodies)
    )


def _is_scalar(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):
        return all(map(_is_scalar, get_args(annotation)))
    return annotation in _SCALARS or get_origin(annotation) is Literal


class PlainCall:
    """From a request to the response of one endpoint."""

    def __init__(self, dependant: Dependant) -> None:
        self._endpoint: Any = dependant.call
        self._path, self._query, self._bodies = dependant.path_params, dependant.query_params, dependant.body_params
        self._request_name = dependant.request_param_name

    async def __call__(self, request: Request) -> Response:
        """Validate the request and call the endpoint. Raises RequestValidationError, Problem or HTTPException."""
        body = await _read_json(request) if self._bodies else None
        values: dict[str, Any] = {}
        errors = _validate(self._path, request.path_params, "path", values) if self._path else []
        query = request.query_params if request.scope["query_string"] else {}
        errors += _validate(self._query, query, "query", values)
        for field in self._bodies:
            errors += _validate_one(field, body, ("body",), values)
        if errors:
            raise RequestValidationError(errors, body=None if body is _ABSENT else body)
        if self._request_name is not None:
            values[self._request_name] = request
        response: Response = await self._endpoint(**values)
        return response


async def _read_json(request: Request) -> Any:
    try:
        return await request.json() if await request.body() else _ABSENT
    except ClientDisconnect:
        raise HTTPException(400, "There was an error parsing the body") from None


def _validate(fields: Sequence[Any], found: Mapping[str, Any], where: str, values: dict[str, Any]) -> list[Any]:
    """Add parameters to `values`; returns what is wrong with them."""
    errors = []
    for field in fields:
        errors += _validate_one(field, found.get(field.alias, _ABSENT), (where, field.alias), values)
    return errors


def _validate_one(field: Any, value: Any, where: tuple[str, ...], values: dict[str, Any]) -> list[Any]:
    if value is not _ABSENT:
        values[field.name], errors = field.validate(value, loc=where)
        return errors
    if field.field_info.is_required():
        return [{"type": "missing", "loc": where, "msg": "Field required", "input": None}]
    values[field.name] = field.default
    return []
