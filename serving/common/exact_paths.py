"""Answers a request whose path has no parameters after one look-up, without FastAPI's layers and its routers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.common import problems
from serving.common.routing import StrictRoute


class ExactPaths:
    """ASGI middleware in front of an app: every plain endpoint without path parameters.

    Requests for other paths or with wrong methods go on to the app.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self.app = app
        self._routes: dict[tuple[str, str], tuple[StrictRoute, Callable[[Request], Coroutine[Any, Any, Response]]]] = {}
        for route in routes:
            if isinstance(route, StrictRoute) and route.is_plain and not route.param_convertors:
                for method in route.methods or ():
                    # The first one, as in a search.
                    self._routes.setdefault((method, route.path), (route, route.get_route_handler()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_direct = scope["type"] == "http" and not scope.get("root_path")
        found = self._routes.get((scope["method"], scope["path"])) if is_direct else None
        if found is None:
            await self.app(scope, receive, send)
            return
        scope["route"], handler = found
        scope["endpoint"] = found[0].endpoint
        request = Request(scope, receive)
        try:
            response = await handler(request)
        except Exception as error:
            response = await problems.respond(request, error)
        try:
            await response(scope, receive, send)
        except problems.Problem as problem:
            raise RuntimeError("the response failed after it had begun") from problem
