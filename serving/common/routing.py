"""The route class of every endpoint: it authorizes first, then parses JSON strictly and within limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.params import Form
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope

from serving.common.body_limits import MAX_MEMBERS, check_members, collect_field_names
from serving.common.guard import Precondition
from serving.common.plain_call import PlainCall, can_call_plainly
from serving.common.problems import MAX_ERRORS, Problem

MAX_DEPTH: Final = 16
MAX_FORM_FIELDS: Final = 20
MAX_PARAMETERS: Final = 50
OPERATIONS: Final = "operations"
"""Tag of the endpoints for probes and scrapers."""
FORM_TYPE: Final = "application/x-www-form-urlencoded"
# Everything but brackets and quotes is removed; objects and arrays count alike.
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_OTHER: Final = bytes(set(range(256)) - set(b'[]{}"'))
_STRING: Final = re.compile(rb'"[^"]*"')


def is_too_deep(body: bytes, limit: int = MAX_DEPTH) -> bool:
    """Whether JSON text nests deeper than `limit` or has unbalanced brackets; linear, without parsing or recursion."""
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    rest = _STRING.sub(b"", body.translate(_BRACKETS, _OTHER).replace(b'""', b""))
    for _ in range(limit):
        # Removes exactly the innermost level.
        rest = rest.replace(b"[]", b"")
        if not rest:
            return False
    return True


def parse_json(body: bytes) -> Any:
    """Python values of a JSON text.

    Raises:
        Problem: 422 for text that is not strict JSON (such as NaN or Infinity) or nests too deeply.
    """
    if is_too_deep(body):
        raise Problem(
            422, f"The JSON nests deeper than {MAX_DEPTH} levels or its brackets do not balance.", kind="invalid-json"
        )
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Problem(422, f"The body is not valid JSON: {error.msg} at {where}.", kind="invalid-json") from None


def parse_form(body: bytes) -> FormData:
    """Fields of an URL-encoded form. Raises Problem 422 for more than `MAX_FORM_FIELDS`, empty ones included."""
    if body.count(b"&") >= MAX_FORM_FIELDS:
        raise Problem(422, f"A form has at most {MAX_FORM_FIELDS} fields.", kind="invalid-form")
    fields: list[tuple[str, Any]] = [*parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)]
    return FormData(fields)


class StrictRequest(Request):
    """A request whose JSON is parsed by `parse_json`, and whose form by `parse_form`.

    Args:
        known: names of the fields that the body may have.
    """

    def __init__(self, scope: Scope, receive: Receive, known: frozenset[str]) -> None:
        super().__init__(scope, receive)
        self._known = known

    async def body(self) -> bytes:
        # Most bodies arrive in one message; a generator of pieces would cost more than the small ones themselves.
        if not hasattr(self, "_body"):
            pieces, is_complete = [], False
            while not is_complete:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                pieces.append(message.get("body", b""))
                is_complete = not message.get("more_body", False)
            self._body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return self._body

    async def json(self) -> Any:
        if not hasattr(self, "_strict_json"):
            body = await self.body()
            parsed = parse_json(body)
            # Each member has a colon: a small body has no large object.
            if body.count(b":") > MAX_MEMBERS and isinstance(parsed, dict | list):
                check_members(parsed, self._known)
            self._strict_json = parsed
        return self._strict_json

    async def form(self, **_: Any) -> FormData:  # type: ignore[override]
        return parse_form(await self.body())


class StrictRoute(APIRoute):
    """FastAPI's route on top of `StrictRequest`, with authorization before the body is read.

    An endpoint that only takes scalars and one JSON body is called by `PlainCall`, without FastAPI's solver.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = PlainCall(self.dependant) if self.is_plain else super().get_route_handler()
        is_form = self.body_field is not None and isinstance(self.body_field.field_info, Form)
        wants_json = self.body_field is not None and not is_form
        is_required = self.body_field is not None and self.body_field.field_info.is_required()
        known = frozenset().union(*(collect_field_names(f.field_info.annotation) for f in self.dependant.body_params))

        required = [d.dependency for d in self.dependencies if isinstance(d.dependency, Precondition)]
        # Probes and scrapers may add parameters of their own.
        checks_query = self.include_in_schema and OPERATIONS not in self.tags
        query_names = _collect_query_names(self.dependant)

        async def strict(request: Request) -> Response:
            for precondition in required:
                await precondition.check(request)
            if checks_query and request.scope["query_string"]:
                check_query(request.scope["query_string"], query_names)
            headers = request.headers
            if headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise Problem(
                    415,
                    "Send the body without Content-Encoding.",
                    kind="encoded-body",
                )
            if wants_json and (is_required or _has_body(request)) and not _is_json(headers.get("content-type", "")):
                raise Problem(415, "Send JSON, with Content-Type: application/json.", kind="not-json")
            # A request without a body has no type; its fields are all absent.
            if is_form and not headers.get("content-type", FORM_TYPE).lower().startswith(FORM_TYPE):
                raise Problem(415, f"Send a form, with Content-Type: {FORM_TYPE}.", kind="not-form")
            return await handler(StrictRequest(request.scope, request.receive, known))

        return strict

    @cached_property
    def is_plain(self) -> bool:
        """Whether `PlainCall` can call the endpoint."""
        return can_call_plainly(self.dependant)


def check_query(query: bytes, known: frozenset[str]) -> None:
    """Raises Problem 422 for parameters that the endpoint does not have, like unknown fields of a body."""
    if query.count(b"&") >= MAX_PARAMETERS:
        raise Problem(422, f"A URL has at most {MAX_PARAMETERS} parameters.", kind="invalid-request")
    names = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    unknown = [name for name in names if name not in known][:MAX_ERRORS]
    if unknown:
        rule = f"Parameters of this endpoint: {', '.join(sorted(known)) or 'none'}"
        errors = [{"pointer": f"query/{name}"[:200], "code": "extra_forbidden", "detail": rule} for name in unknown]
        raise Problem(422, f"{len(errors)} error(s) in this request", kind="invalid-request", errors=errors)


def _collect_query_names(dependant: Dependant) -> frozenset[str]:
    """Names of the query parameters of an endpoint and of what it depends on."""
    nested = (_collect_query_names(part) for part in dependant.dependencies)
    return frozenset(field.alias for field in dependant.query_params).union(*nested)


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0").strip("0") != ""


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
