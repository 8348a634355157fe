"""Calls of the other services with a person's own token: the same limits and errors as for any client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx
import orjson

from serving.console.sessions import SessionEnded

TIMEOUT: Final = httpx.Timeout(30.0, connect=3.0)
_TITLES: Final = {"auth": "auth service", "predict": "predict service", "drift": "drift service"}


class ApiProblem(Exception):
    """An error response of a service, or that it does not answer.

    Args:
        service: `auth`, `predict` or `drift`.
        status: HTTP status; 503 where it does not answer.
        kind: last part of the problem's type, such as `no-champion`; empty where there is none.
        errors: errors in the input, each with `pointer`, `code` and `detail`.
        request_id: id of the request in the service's log.
    """

    def __init__(
        self,
        service: str,
        status: int,
        title: str,
        detail: str,
        *,
        kind: str = "",
        errors: tuple[Mapping[str, str], ...] = (),
        request_id: str = "",
    ) -> None:
        super().__init__(detail or title)
        self.service, self.status, self.title, self.detail = service, status, title, detail
        self.kind, self.errors, self.request_id = kind, errors, request_id


@dataclass(frozen=True)
class Fetched:
    """What a part of a page needs from a service: the value, or why it is not there. Exactly one of both is set."""

    value: Any = None
    problem: ApiProblem | None = None


class Api:
    """The services, called for one request of one person.

    Args:
        clients: service → client with its base URL.
        get_token: returns an access token other than the given one.
        headers: headers of every call: the person's address, the id of the request.
    """

    def __init__(
        self,
        clients: Mapping[str, httpx.AsyncClient],
        get_token: Callable[[str], Awaitable[str]],
        headers: Mapping[str, str],
    ) -> None:
        self._clients = clients
        self._get_token = get_token
        self._headers = dict(headers)

    async def get(self, service: str, path: str, **query: Any) -> Any:
        """Parsed JSON of a GET. Raises ApiProblem, SessionEnded."""
        return _parse(await self.call(service, "GET", path, query=query))

    async def post(self, service: str, path: str, body: Any = None, **query: Any) -> Any:
        """Parsed JSON of a POST with a JSON body; None for an empty answer. Raises ApiProblem, SessionEnded."""
        return _parse(await self.call(service, "POST", path, query=query, body=body))

    async def fetch(self, service: str, path: str, **query: Any) -> Fetched:
        """`get` for a part of a page that may fail alone. Raises SessionEnded."""
        try:
            return Fetched(await self.get(service, path, **query))
        except ApiProblem as problem:
            return Fetched(problem=problem)

    async def call(
        self,
        service: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """A complete response with a status below 400.

        Args:
            path: its variable parts quoted by `segment`.
            query: parameters; those that are None are left out.
            body: sent as JSON where it is not None.

        Raises:
            ApiProblem: the service refused the call or does not answer.
            SessionEnded: no token is accepted any more.
        """
        content = None if body is None else orjson.dumps(body)
        async with self.stream(service, method, path, query=query, content=content, headers=headers) as response:
            await response.aread()
            return response

    @asynccontextmanager
    async def stream(
        self,
        service: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        content: bytes | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> AsyncIterator[httpx.Response]:
        """A response with a status below 400 whose body is read as it comes; a streamed `content` is sent once.

        Raises:
            ApiProblem: the service refused the call or does not answer.
            SessionEnded: no token is accepted any more.
        """
        client = self._clients[service]
        sent = {**self._headers, "content-type": "application/json", **(headers or {})}
        if content is None:
            sent.pop("content-type")
        parameters = {name: value for name, value in (query or {}).items() if value is not None}
        token = await self._get_token("")
        try:
            for attempt in range(2):
                sent["authorization"] = f"Bearer {token}"
                request = client.build_request(
                    method, path, params=parameters, content=content, headers=sent, timeout=timeout
                )
                response = await client.send(request, stream=True)
                # The keys or the account changed: once more with a new token, unless the body is gone.
                if response.status_code != 401 or attempt or not isinstance(content, bytes | None):
                    break
                await response.aclose()
                token = await self._get_token(token)
            try:
                if response.status_code == 401:
                    raise SessionEnded
                if response.status_code >= 400:
                    await response.aread()
                    raise _read_problem(service, response)
                yield response
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise build_unreachable(service, error) from None


def segment(value: str) -> str:
    """A value as one segment of a path."""
    return quote(value, safe="")


def build_unreachable(service: str, error: Exception) -> ApiProblem:
    """The problem of a service that does not answer."""
    name = _TITLES[service]
    what = "took too long to answer" if isinstance(error, httpx.ReadTimeout) else "does not answer"
    return ApiProblem(service, 503, f"The {name} {what}", "Try again in a moment.", kind="unreachable")


def _parse(response: httpx.Response) -> Any:
    return orjson.loads(response.content) if response.content else None


def _read_problem(service: str, response: httpx.Response) -> ApiProblem:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        body = {}
    kind = str(body.get("type") or "").rpartition(":")[2]
    return ApiProblem(
        service,
        response.status_code,
        str(body.get("title") or f"The {_TITLES[service]} answered with {response.status_code}"),
        str(body.get("detail") or ""),
        kind="" if kind == "blank" else kind,
        errors=tuple(error for error in body.get("errors") or () if isinstance(error, dict)),
        request_id=str(body.get("request_id") or response.headers.get("x-request-id", "")),
    )
