"""The middleware of every request: request id, size and time limits, metrics, one log line, error responses.

Pure ASGI, the outermost layer of the app: an exception that reaches it becomes a problem+json 500.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.common import logs
from serving.common.ids import random_hex
from serving.common.metrics import Metrics
from serving.common.problems import Problem, problem_response

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")
# Frequent probes and scrapes; logged only when they fail.
_UNLOGGED: Final = frozenset({"/livez", "/readyz", "/metrics"})
# Of every response that does not set them itself.
_RESPONSE_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
BODY_ARRIVED: Final = "body_arrived"
"""In the state of a request whose body the server has received as a whole."""
# Many clients read no response before they have sent the whole body, and lose it if the connection is closed earlier.
# The rest of a refused body is therefore read and discarded, up to these limits.
DISCARDED_BYTES: Final = 8 * 1024**2
DISCARDED_BYTES_OF_KNOWN: Final = 512 * 1024**2
DISCARD_SECONDS: Final = 10.0
DISCARD_IDLE_SECONDS: Final = 2.0

ResponseObserver = Callable[[Scope, str, int, float], None]
"""Called after every response with scope, route template, status, seconds. Must be quick and must not raise."""


@dataclass(frozen=True)
class RouteLimits:
    """Limits of one request.

    Args:
        body_bytes: size of the body.
        seconds: time from the first byte of the request to the last of the response.
        idle_seconds: time between two pieces of the body, so that a slow client is cut off before `seconds`.
    """

    body_bytes: int
    seconds: float
    idle_seconds: float


@dataclass
class Lifecycle:
    """State of the process; `draining` is set after the signal to stop, before the server stops listening."""

    draining: bool = False


class RequestMiddleware:
    """The ASGI middleware. `special` maps exact paths to limits other than the default ones."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        limits: RouteLimits,
        special: Mapping[str, RouteLimits],
        lifecycle: Lifecycle,
        on_response: ResponseObserver | None = None,
    ) -> None:
        self.app = app
        self.on_response = on_response
        self.metrics = metrics
        self.limits = limits
        self.special = special
        self.lifecycle = lifecycle
        # Bound here, not for each line.
        self.log = logs.get("http").bind()

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
            await self._handle(exchange)
        finally:
            self.metrics.in_progress.dec()
            self._record(scope, exchange, time.perf_counter() - started)
            await exchange.finish()

    async def _handle(self, exchange: _Exchange) -> None:
        scope = exchange.scope
        try:
            if "\0" in scope["path"]:
                # No resource has such a name, and PostgreSQL rejects it in a query.
                raise Problem(404, "There is no such resource.")
            async with asyncio.timeout(exchange.limits.seconds):
                await self.app(scope, exchange.receive, exchange.send)
        except Problem as problem:
            await exchange.send_problem(problem)
        except TimeoutError:
            if exchange.is_receiving:
                await exchange.send_problem(_slow_body())
            else:
                await exchange.send_problem(
                    Problem(503, "The request took too long.", kind="timeout", headers={"Retry-After": "5"})
                )
        except Exception:
            self.log.exception("request failed", request_id=exchange.request_id, path=scope["path"][:200])
            await exchange.send_problem(
                Problem(500, "Internal error; quote the request id when you report it.", kind="internal")
            )

    def _record(self, scope: Scope, exchange: _Exchange, seconds: float) -> None:
        route = get_route_template(scope)
        # 499: the client disconnected before the response.
        status = exchange.status or 499
        self.metrics.record_request(scope["method"], route, status, seconds)
        if self.on_response is not None:
            self.on_response(scope, route, status, seconds)
        if scope["path"] not in _UNLOGGED or status >= 500:
            self._choose_log(scope["path"], status)(
                "request",
                request_id=exchange.request_id,
                method=scope["method"],
                route=route,
                status=status,
                ms=round(seconds * 1000, 3),
                client=(scope.get("client") or ("",))[0],
                subject=scope["state"].get("subject"),
                **({"refusal": refusal} if (refusal := scope["state"].get("refusal")) else {}),
            )

    def _choose_log(self, path: str, status: int) -> Callable[..., None]:
        """The level of a request's line: a server error is one, a service that is not ready yet is a state."""
        log: Callable[..., None] = self.log.info
        if status >= 500:
            log = self.log.warning if path in _UNLOGGED else self.log.error
        return log


class _Exchange:
    """One request with its response: counts the bytes of the body, completes the response's headers."""

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
        self.is_receiving = False
        """Whether the service waits for the client to send: a timeout then is the client's."""
        self._received = 0
        self._is_end_held = False
        self._receive = receive
        self._send = send
        self._lifecycle = lifecycle

    async def receive(self) -> Message:
        if self.body_complete:
            return await self._receive()
        if self.declared > self.limits.body_bytes:
            raise _too_large(self.limits)
        if self.scope["state"].get(BODY_ARRIVED):
            message = await self._receive()
        else:
            message = await self._receive_in_time()
        if message["type"] == "http.request":
            self._count(message)
            if self._received > self.limits.body_bytes:
                raise _too_large(self.limits)
        return message

    async def _receive_in_time(self) -> Message:
        self.is_receiving = True  # stays if the wait is cancelled
        try:
            async with asyncio.timeout(self.limits.idle_seconds):
                message = await self._receive()
        except TimeoutError:
            raise _slow_body() from None
        self.is_receiving = False
        return message

    def _count(self, message: Message) -> None:
        self._received += len(message.get("body", b""))
        self.body_complete = not message.get("more_body", False)

    async def send(self, message: Message) -> None:
        is_unread = not self.body_complete and self._has_body()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message.setdefault("headers", [])
            own = {name for name, _ in headers}
            headers.append((b"x-request-id", self.request_id.encode()))
            headers += [header for header in _RESPONSE_HEADERS if header[0] not in own]
            # Otherwise an unread body would be parsed as the next request of this connection.
            if self._lifecycle.draining or (is_unread and self.status >= 400):
                headers.append((b"connection", b"close"))
        elif is_unread and self._is_body_coming() and not message.get("more_body", False):
            # The server closes the connection at the end of the response: `finish` sends it.
            self._is_end_held = True
            message = {**message, "more_body": True}
        await self._send(message)

    async def finish(self) -> None:
        """End a response that was sent before the body had arrived: discard the body, then close."""
        if not self._is_end_held:
            return
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                await self._discard_body()
        except TimeoutError:
            pass  # the client had its time
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _discard_body(self) -> None:
        is_known = self.scope["state"].get("subject") is not None
        most = self._received + (DISCARDED_BYTES_OF_KNOWN if is_known else DISCARDED_BYTES)
        while not self.body_complete and self._received <= most:
            async with asyncio.timeout(DISCARD_IDLE_SECONDS):
                message = await self._receive()
            if message["type"] != "http.request":
                return
            self._count(message)

    def _has_body(self) -> bool:
        return self.declared > 0 or any(name == b"transfer-encoding" for name, _ in self.scope["headers"])

    def _is_body_coming(self) -> bool:
        """Whether the client goes on sending: not if it was too slow, nor if it still waits for `100 Continue`."""
        if self.is_receiving:
            return False
        return self._received > 0 or not any(name == b"expect" for name, _ in self.scope["headers"])

    async def send_problem(self, problem: Problem) -> None:
        """Respond with a problem. Raises ConnectionAbortedError where a response has begun: the stream breaks off."""
        if self.status:
            raise ConnectionAbortedError(f"the response failed after it had begun: {problem.detail}")
        response = problem_response(
            self.scope, problem.status_code, problem.detail, kind=problem.kind, headers=problem.headers
        )
        await response(self.scope, self._receive, self.send)


def _slow_body() -> Problem:
    return Problem(408, "The request's body did not arrive in time.", kind="slow-request")


def _too_large(limits: RouteLimits) -> Problem:
    return Problem(413, f"The body may have at most {limits.body_bytes} bytes.", kind="body-too-large")


def _read_headers(scope: Scope) -> tuple[str, int]:
    """The request id (the client's if it is well-formed, else a new one) and the declared length of the body."""
    request_id, declared = "", 0
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.match(value):
            request_id = value.decode("ascii")
        elif name == b"content-length" and value.isdigit():
            declared = int(value.lstrip(b"0")[:18] or b"0")
    return request_id or random_hex() + random_hex(), declared


def get_route_template(scope: Scope) -> str:
    """Template of the route that matched, else `unmatched`; never the path of the request."""
    route = scope.get("route")
    return getattr(route, "path", None) or "unmatched"
