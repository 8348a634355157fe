"""What surrounds every request: id, size and time limits, metrics, one log line, and an answer whatever happens.

Pure ASGI, the outermost layer that the app adds: an exception that reaches it becomes a problem+json 500 here.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.common import logs
from serving.common.metrics import Metrics
from serving.common.problems import Problem, problem_response

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")
# Probes and scrapes every few seconds would drown what happened.
_QUIET: Final = frozenset({"/livez", "/readyz", "/metrics"})
_ALWAYS: Final = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))


Answered = Callable[[Scope, str, int, float], None]
"""Told of every answer: scope, route template, status, seconds. Must be quick and must not raise."""


@dataclass(frozen=True)
class RouteLimits:
    """What one request may cost."""

    body_bytes: int
    seconds: float
    # Longest wait for the next piece of a body: a client that drips is not served for the whole `seconds`.
    idle_seconds: float


@dataclass
class Lifecycle:
    """Whether the service takes requests: set once the process was asked to stop, before it stops listening."""

    draining: bool = False


class Envelope:
    """The ASGI middleware. `special` has limits of exact paths that differ from the usual ones."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        limits: RouteLimits,
        special: Mapping[str, RouteLimits],
        lifecycle: Lifecycle,
        answered: Answered | None = None,
    ) -> None:
        self.app = app
        self.answered = answered
        self.metrics = metrics
        self.limits = limits
        self.special = special
        self.lifecycle = lifecycle
        self.log = logs.get("http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id, declared = _read_headers(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        limits = self.special.get(scope["path"], self.limits)
        exchange = _Exchange(scope, receive, send, limits, request_id, declared, self.lifecycle)
        self.metrics.in_progress.inc()
        try:
            await self._answer(exchange)
        finally:
            self.metrics.in_progress.dec()
            self._account(scope, exchange, time.perf_counter() - started)

    async def _answer(self, exchange: _Exchange) -> None:
        scope = exchange.scope
        try:
            if "\0" in scope["path"]:
                # No name of ours has one, and PostgreSQL takes none: nobody needs to be asked.
                raise Problem(404, "There is no such resource.")
            if exchange.declared > exchange.limits.body_bytes:
                raise _too_large(exchange.limits)
            async with asyncio.timeout(exchange.limits.seconds):
                await self.app(scope, exchange.receive, exchange.send)
        except Problem as problem:
            await exchange.refuse(problem)
        except TimeoutError:
            if exchange.body_complete:
                await exchange.refuse(Problem(503, "The request took too long.", kind="timeout"))
            else:
                await exchange.refuse(Problem(408, "The request's body did not arrive in time.", kind="slow-request"))
        except Exception:
            self.log.exception("request failed", request_id=exchange.request_id, path=scope["path"][:200])
            await exchange.refuse(
                Problem(500, "Something went wrong on our side; quote the request id.", kind="internal")
            )

    def _account(self, scope: Scope, exchange: _Exchange, seconds: float) -> None:
        route = route_template(scope)
        # 499: the client left before there was an answer.
        status = exchange.status or 499
        self.metrics.answered(scope["method"], route, status, seconds)
        if self.answered is not None:
            self.answered(scope, route, status, seconds)
        if scope["path"] not in _QUIET or status >= 500:
            self.log.info(
                "request",
                request_id=exchange.request_id,
                method=scope["method"],
                route=route,
                status=status,
                ms=round(seconds * 1000, 3),
                client=(scope.get("client") or ("",))[0],
                subject=scope["state"].get("subject"),
            )


class _Exchange:
    """One request and its answer: counts the body, watches what is sent."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        limits: RouteLimits,
        request_id: str,
        declared: int,
        lifecycle: Lifecycle,
    ) -> None:
        self.scope = scope
        self.limits = limits
        self.request_id = request_id
        self.declared = declared
        self.status = 0
        self.body_complete = False
        self._received = 0
        self._receive = receive
        self._send = send
        self._lifecycle = lifecycle

    async def receive(self) -> Message:
        if self.body_complete:
            return await self._receive()
        try:
            async with asyncio.timeout(self.limits.idle_seconds):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, "The request's body did not arrive in time.", kind="slow-request") from None
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if self._received > self.limits.body_bytes:
                raise _too_large(self.limits)
            self.body_complete = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message.setdefault("headers", [])
            headers += [(b"x-request-id", self.request_id.encode()), *_ALWAYS]
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            # An unread body would be taken for the next request on this connection.
            if self._lifecycle.draining or (self.status >= 400 and not self.body_complete and self._has_body()):
                headers.append((b"connection", b"close"))
        await self._send(message)

    def _has_body(self) -> bool:
        return self.declared > 0 or any(name == b"transfer-encoding" for name, _ in self.scope["headers"])

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem, unless an answer is already under way: then the broken stream tells it."""
        if self.status:
            raise ConnectionAbortedError("the answer broke off after it had begun")
        response = problem_response(
            self.scope, problem.status_code, problem.detail, kind=problem.kind, headers=problem.headers
        )
        await response(self.scope, self._receive, self.send)


def _too_large(limits: RouteLimits) -> Problem:
    return Problem(413, f"The body may have at most {limits.body_bytes} bytes.", kind="body-too-large")


def _read_headers(scope: Scope) -> tuple[str, int]:
    """The request id (ours, unless the caller's is harmless) and the declared length of the body."""
    request_id, declared = "", 0
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.match(value):
            request_id = value.decode("ascii")
        elif name == b"content-length" and value.isdigit():
            declared = int(value[:18])
    return request_id or uuid.uuid4().hex, declared


def route_template(scope: Scope) -> str:
    """The template of the route that matched, `unmatched` when none did: never a path from outside."""
    route = scope.get("route")
    return getattr(route, "path", None) or "unmatched"
