"""The guard as ASGI: wraps the app of Dagster's or MLflow's web server, in its process, so that no port bypasses it."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from accident_reco.settings import Settings
from serving.common.identity import Principal
from serving.common.jwks import Jwks, build_http_fetch
from serving.common.metrics import CONTENT_TYPE, Metrics, is_from_loopback
from serving.common.problems import Problem, problem_response
from serving.common.routing import parse_form
from serving.common.tokens import InvalidToken, TokenVerifier, UnknownKey
from serving.guard.login import LOGIN_PATH, LOGOUT_PATH, LoginRefused, Sessions, render_login
from serving.guard.rules import LOOPBACK, PagePolicy, PageRequest, Refusal, find_refusal
from serving.guard.user_tag import ForgedTag, add_user_tag

MAX_FORM_BYTES: Final = 32 * 1024
MAX_GRAPHQL_BYTES: Final = 16 * 1024**2
OPEN_PATHS: Final = {"dagster": frozenset({"/server_info"}), "mlflow": frozenset({"/health", "/version"})}
METRICS_PATH: Final = "/metrics"
TITLES: Final = {"dagster": "Dagster", "mlflow": "MLflow"}
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
}


class PageGuard:
    """Passes to `app` what the rules allow, from people who have logged in where that is required.

    Args:
        sessions: sessions of people; None: no login is required.
        verifier: verifies tokens of the auth service, which programs send instead of a cookie.
        machine_token: bearer token of the platform's own processes; empty: none.
        metrics_public: whether `/metrics` is served to clients that are not on loopback.
    """

    def __init__(
        self,
        app: ASGIApp,
        policy: PagePolicy,
        sessions: Sessions | None = None,
        verifier: TokenVerifier | None = None,
        machine_token: str = "",
        metrics_public: bool = False,
    ) -> None:
        self.app = app
        self.policy = policy
        self._sessions = sessions
        self._verifier = verifier
        self._machine_token = machine_token
        self._metrics_public = metrics_public
        self._metrics = Metrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._measure(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._guard(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _measure(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record the request: the programs behind the guard have no metrics of their own."""
        started, status = time.perf_counter(), 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.in_progress.inc()
        try:
            await self._guard(scope, receive, observed)
        finally:
            self._metrics.in_progress.dec()
            route = self.policy.program  # a path is a client's text
            self._metrics.record_request(scope["method"], route, status, time.perf_counter() - started)

    async def _serve_metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._metrics_public or is_from_loopback(scope):
            text = await asyncio.to_thread(self._metrics.exposition)
            await Response(text, headers={"content-type": CONTENT_TYPE})(scope, receive, send)
        else:
            await _refuse(scope, receive, send, Refusal(403, "Metrics are available from this machine only."))

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _read(scope)
        if request.path in (LOGIN_PATH, LOGOUT_PATH) and self._sessions is not None and not request.is_websocket:
            await self._serve_login(request, self._sessions, scope, receive, send)
            return
        refusal = find_refusal(request, self.policy)
        if refusal is not None:
            await _refuse(scope, receive, send, refusal)
            return
        if request.path == METRICS_PATH and not request.is_websocket:
            await self._serve_metrics(scope, receive, send)
            return
        name: str | None = None
        if self._sessions is not None and request.path not in self.policy.open_paths:
            name = await self._find_name(request, self._sessions, _get_address(scope))
            if name is None:
                await self._require_login(request, scope, receive, send)
                return
        if name and self.policy.program == "dagster" and request.method == "POST":
            await self._pass_tagged(scope, receive, send, name)
            return
        await self.app(scope, receive, _with_frame_policy(send))

    async def _find_name(self, request: PageRequest, sessions: Sessions, address: str) -> str | None:
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            token = credentials.strip()
            if self._machine_token and hmac.compare_digest(token.encode(), self._machine_token.encode()):
                return ""
            principal = await self._verify(token)
            return principal.subject if principal and "admin" in principal.scopes else None
        return await sessions.find_name(request.headers.get("cookie", ""), address)

    async def _verify(self, token: str) -> Principal | None:
        if self._verifier is None:
            return None
        try:
            try:
                return self._verifier.verify(token)
            except UnknownKey:
                if self._verifier.jwks.claim_refresh():
                    await asyncio.to_thread(self._verifier.jwks.refresh)
                return self._verifier.verify(token)
        except InvalidToken:
            return None

    async def _require_login(self, request: PageRequest, scope: Scope, receive: Receive, send: Send) -> None:
        if request.is_navigation and not request.is_websocket:
            await RedirectResponse(LOGIN_PATH, 303)(scope, receive, send)
        else:
            await _refuse(scope, receive, send, Refusal(401, "Log in as an admin, or send an admin's token."))

    async def _serve_login(
        self, request: PageRequest, sessions: Sessions, scope: Scope, receive: Receive, send: Send
    ) -> None:
        # A form's own type, and no change of the program; all other rules hold, the origin above all.
        headers = {**request.headers, "content-type": "application/json"}
        refusal = find_refusal(
            PageRequest(request.method, request.path, "", headers), replace(self.policy, read_only=False)
        )
        if refusal is None and request.method not in ("GET", "HEAD", "POST"):
            refusal = Refusal(405, "Send GET or POST.")
        if refusal is not None:
            await _refuse(scope, receive, send, refusal)
            return
        address = _get_address(scope)
        response: Response
        if request.path == LOGOUT_PATH:
            if request.method != "POST":
                await _refuse(scope, receive, send, Refusal(405, "Send POST."))
                return
            await sessions.log_out(request.headers.get("cookie", ""), address)
            response = RedirectResponse(LOGIN_PATH, 303)
            response.delete_cookie(sessions.cookie)
        elif request.method == "POST":
            response = await self._log_in(sessions, scope, receive, address)
        else:
            response = self._login_page()
        await response(scope, receive, send)

    async def _log_in(self, sessions: Sessions, scope: Scope, receive: Receive, address: str) -> Response:
        try:
            form = parse_form(await _read_body(receive, MAX_FORM_BYTES))
            session_id = await sessions.log_in(str(form.get("username", "")), str(form.get("password", "")), address)
        except Problem as problem:
            return self._login_page(problem.detail, problem.status_code)
        except LoginRefused as refused:
            return self._login_page(str(refused), refused.status)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            sessions.cookie, session_id, httponly=True, samesite="strict", secure=scope.get("scheme") == "https"
        )
        return response

    def _login_page(self, problem: str = "", status: int = 200) -> Response:
        page = render_login(TITLES[self.policy.program], problem)
        return Response(page, status, dict(_PAGE_HEADERS), "text/html; charset=utf-8")

    async def _pass_tagged(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        try:
            body = add_user_tag(await _read_body(receive, MAX_GRAPHQL_BYTES), name)
        except Problem as problem:
            await _refuse(scope, receive, send, Refusal(problem.status_code, problem.detail))
            return
        except ForgedTag as error:
            await _refuse(scope, receive, send, Refusal(403, f"{str(error)[0].upper()}{str(error)[1:]}."))
            return
        except ValueError:
            await _refuse(scope, receive, send, Refusal(400, "The body is not JSON."))
            return
        headers = [
            (key, value) for key, value in scope["headers"] if key not in (b"content-length", b"transfer-encoding")
        ]
        headers.append((b"content-length", str(len(body)).encode()))
        pending = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self.app({**scope, "headers": headers}, replay, _with_frame_policy(send))


def build_page_guard(
    app: ASGIApp, settings: Settings, program: Literal["dagster", "mlflow"], machine_token: str = ""
) -> PageGuard:
    """The guard of a program's app, as the settings say."""
    names = [name.strip().lower() for name in settings.page_hosts.split(",") if name.strip()]
    policy = PagePolicy(program, LOOPBACK | frozenset(names), OPEN_PATHS[program], settings.page_read_only)
    if not settings.page_login:
        return PageGuard(app, policy, metrics_public=settings.metrics_public)
    jwks = Jwks(build_http_fetch(settings.keys_url), cache=None)
    jwks.start()
    token_url = f"{settings.internal_auth_url.rstrip('/') or settings.auth_url}/token"
    verifier = TokenVerifier(jwks, settings.auth_issuer, settings.auth_audience)
    return PageGuard(app, policy, Sessions(token_url, program), verifier, machine_token, settings.metrics_public)


def _read(scope: Scope) -> PageRequest:
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        # Two of a kind would be read differently here and by the app: together they match nothing.
        headers[name] = f"{headers[name]},{value.decode('latin-1')}" if name in headers else value.decode("latin-1")
    is_websocket = scope["type"] == "websocket"
    query = scope.get("query_string", b"").decode("latin-1")
    return PageRequest("GET" if is_websocket else scope["method"], scope["path"], query, headers, is_websocket)


def _get_address(scope: Scope) -> str:
    return str((scope.get("client") or ("",))[0])


async def _read_body(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises Problem 413 above the limit, 400 where the client disconnects."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Problem(400, "The body did not arrive.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if size > limit:
            raise Problem(413, f"The body may have at most {limit} bytes.")
    return b"".join(parts)


async def _refuse(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    if scope["type"] == "websocket":
        await receive()
        # Before it is accepted: the server answers the handshake with 403.
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})
        return
    await problem_response(scope, refusal.status, refusal.reason)(scope, receive, send)


def _with_frame_policy(send: Send) -> Send:
    """Adds a header to responses, so that no other page can show these in a frame and lead clicks to them."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: Sequence[tuple[bytes, bytes]] = message.get("headers", [])
            if not any(name.lower() == b"x-frame-options" for name, _ in headers):
                message = {**message, "headers": [*headers, (b"x-frame-options", b"SAMEORIGIN")]}
        await send(message)

    return wrapped
