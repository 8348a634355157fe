"""The route class of every endpoint: it authorizes first, then parses JSON strictly and within limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any, Final

import orjson
from fastapi import Request
from fastapi.params import Form
from fastapi.routing import APIRoute
from starlette.responses import Response

from serving.common.guard import RequiredScope
from serving.common.problems import Problem

MAX_DEPTH: Final = 16
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


class StrictRequest(Request):
    """A request whose JSON is parsed by `parse_json`."""

    async def json(self) -> Any:
        if not hasattr(self, "_strict_json"):
            self._strict_json = parse_json(await self.body())
        return self._strict_json


class StrictRoute(APIRoute):
    """FastAPI's route on top of `StrictRequest`, with authorization before the body is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        wants_json = self.body_field is not None and not isinstance(self.body_field.field_info, Form)

        required = [d.dependency for d in self.dependencies if isinstance(d.dependency, RequiredScope)]

        async def strict(request: Request) -> Response:
            for scope in required:
                await scope.check(request)
            if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise Problem(
                    415,
                    "Send the body without Content-Encoding.",
                    kind="encoded-body",
                )
            if wants_json and not _is_json(request.headers.get("content-type", "")):
                raise Problem(415, "Send JSON, with Content-Type: application/json.", kind="not-json")
            return await handler(StrictRequest(request.scope, request.receive))

        return strict


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
