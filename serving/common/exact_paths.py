"""Finds the endpoint of a request whose path has no parameters by one look-up, before the routers are searched."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from starlette.datastructures import URLPath
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from serving.common.routing import StrictRoute


class ExactPaths(BaseRoute):
    """A route to every plain endpoint without path parameters; it matches nothing else.

    FastAPI's own routes are behind it: they answer wrong methods and other paths.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes: dict[tuple[str, str], tuple[StrictRoute, Callable[[Request], Coroutine[Any, Any, Response]]]] = {}
        for route in routes:
            if isinstance(route, StrictRoute) and route.is_plain and not route.param_convertors:
                for method in route.methods or ():
                    # The first one, as in a search.
                    self._routes.setdefault((method, route.path), (route, route.get_route_handler()))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """FULL, with the documented route, where the request is for one of the endpoints."""
        if scope["type"] != "http" or scope.get("root_path"):
            return Match.NONE, {}
        found = self._routes.get((scope["method"], scope["path"]))
        return (Match.NONE, {}) if found is None else (Match.FULL, {"route": found[0], "endpoint": found[0].endpoint})

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Raises NoMatchFound: the documented routes have the names."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request that matches."""
        _, handler = self._routes[scope["method"], scope["path"]]
        response = await handler(Request(scope, receive))
        await response(scope, receive, send)
