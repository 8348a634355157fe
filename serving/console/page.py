"""A page: the request of a person who has logged in, and the route that admits it.

The route finds the session, checks the scope, refuses changes from other sites or without the session's CSRF token, and
turns every error into a page. A page function takes a `Page` and returns `page.render(…)` or `page.redirect(…)`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Message, Receive, Scope

from serving.common import logs
from serving.common.problems import Problem, get_request_id
from serving.common.routing import FORM_TYPE
from serving.console import protection
from serving.console.api import Api, ApiProblem
from serving.console.context import Console
from serving.console.problem_pages import ProblemPage, describe_api_problem, describe_http_problem
from serving.console.sessions import COOKIE, AuthUnavailable, Session, SessionEnded

MAX_FORM_FIELDS: Final = 2_000
MAX_CSRF_PART_BYTES: Final = 4_096
NOTICE_COOKIE: Final = "accident_reco_notice"
THEME_COOKIE: Final = "accident_reco_theme"
BACKGROUND_HEADER: Final = "x-background"
"""Of requests that no person makes: parts of a page that refresh themselves, {{ ui.every(20) }}."""
_CSRF_PART: Final = re.compile(rb'\A--[^\r\n]{1,200}\r\n[^\r\n]*name="csrf"[^\r\n]*\r\n\r\n([0-9a-f]{64})\r\n')


class Page(Request):
    """A request of a person.

    Args:
        session: who it is and what the scopes allow.
    """

    def __init__(self, scope: Scope, receive: Receive, console: Console, session: Session) -> None:
        super().__init__(scope, receive)
        self.console = console
        self.person = session
        self._fields: FormData | None = None
        headers = {"X-Request-ID": get_request_id(scope) or ""}
        address = self.client.host if self.client else ""
        if address:
            headers["X-Forwarded-For"] = address

        async def get_token(rejected: str) -> str:
            try:
                return await console.sessions.get_access_token(session, address, rejected)
            except AuthUnavailable:
                raise ApiProblem(
                    "auth", 503, "The auth service does not answer", "Try again in a moment.", kind="unreachable"
                ) from None

        self.api = Api(console.clients, get_token, headers)

    @property
    def is_htmx(self) -> bool:
        """Whether htmx asks for a part of a page."""
        return self.headers.get("hx-request") == "true"

    def may(self, scope: str) -> bool:
        """Whether the person has a scope; empty: no scope is required."""
        return not scope or scope in self.person.scopes

    def require(self, scope: str) -> None:
        """Raises Problem 403 where the person lacks the scope."""
        if not self.may(scope):
            raise Problem(403, f"Your account does not have the right \u201c{scope}\u201d.", kind="missing-scope")

    async def form_fields(self) -> FormData:
        """Fields of a submitted form; a name may occur several times. Raises Problem 413, 415, 422."""
        if self._fields is None:
            if not self.headers.get("content-type", FORM_TYPE).lower().startswith(FORM_TYPE):
                raise Problem(415, f"Send a form, with Content-Type: {FORM_TYPE}.", kind="not-form")
            body = await self.body()
            if body.count(b"&") >= MAX_FORM_FIELDS:
                raise Problem(422, f"A form has at most {MAX_FORM_FIELDS} fields.", kind="invalid-form")
            pairs: list[tuple[str, Any]] = [*parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)]
            self._fields = FormData(pairs)
        return self._fields

    async def read_csrf_part(self) -> str:
        """CSRF token of a multipart form, whose first part it is; the body can be read from its start then."""
        receive = self._receive
        messages: list[Message] = []
        head = b""
        found = None
        while found is None and len(head) < MAX_CSRF_PART_BYTES:
            message = await receive()
            messages.append(message)
            head += message.get("body", b"")
            found = _CSRF_PART.match(head)
            if message["type"] != "http.request" or not message.get("more_body", False):
                break

        async def replay() -> Message:
            return messages.pop(0) if messages else await receive()

        self._receive = replay
        return found[1].decode() if found else ""

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page or a part of one."""
        return render(self, self.console, self.person, template, status, values)

    def redirect(self, path: str, notice: str = "") -> Response:
        """To another page after a change; `notice` is shown there once."""
        response: Response
        if self.is_htmx:
            response = Response(status_code=204, headers={"HX-Redirect": path})
        else:
            response = RedirectResponse(path, 303)
        if notice:
            response.set_cookie(
                NOTICE_COOKIE, quote(notice[:500]), max_age=30, httponly=True, samesite="strict", secure=is_secure(self)
            )
        return response


def is_secure(request: Request) -> bool:
    """Whether the browser's connection is HTTPS, also where a trusted proxy ends it."""
    return bool(request.scope.get("scheme") == "https")


def render(
    request: Request, console: Console, person: Session | None, template: str, status: int, values: dict[str, Any]
) -> Response:
    """HTML of a template with what the layout shows: navigation, person, appearance, the notice of a redirect."""
    scopes = person.scopes if person else frozenset()
    navigation = [link for link in console.navigation if person and (not link.scope or link.scope in scopes)]
    notice = unquote(request.cookies.get(NOTICE_COOKIE, ""))
    theme = request.cookies.get(THEME_COOKIE, "")
    shared = {
        "person": person,
        "csrf_token": person.csrf_token if person else "",
        "may": lambda scope: not scope or scope in scopes,
        "navigation": navigation,
        "path": request.scope["path"],
        "has_page": lambda path: any(link.path == path for link in navigation),
        "theme": theme if theme in ("light", "dark") else "",
        "notice": notice,
        "models": console.models,
    }
    response = HTMLResponse(console.renderer.render(template, shared | values), status)
    if notice and request.headers.get("hx-request") != "true":
        response.delete_cookie(NOTICE_COOKIE)
    return response


def page_router(console: Console, scope: str = "") -> APIRouter:
    """A router of pages.

    Args:
        scope: required for all of them; empty: a login is enough.
    """
    route = type("BoundPageRoute", (PageRoute,), {"console": console, "scope": scope})
    return APIRouter(route_class=route, include_in_schema=False)


class PageRoute(APIRoute):
    """The route of a page; bound to a console by `page_router`."""

    console: ClassVar[Console]
    scope: ClassVar[str]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def admit(request: Request) -> Response:
            response = await self._respond(handler, request)
            for name, value in protection.HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return admit

    async def _respond(self, handler: Callable[[Request], Coroutine[Any, Any, Response]], request: Request) -> Response:
        console, session = self.console, None
        try:
            cookie = request.cookies.get(COOKIE, "")
            session = await console.sessions.find(cookie, is_use=BACKGROUND_HEADER not in request.headers)
            if session is None:
                return _send_to_login(request, was_logged_in=bool(cookie))
            request.scope["state"]["subject"] = session.name
            page = Page(request.scope, request.receive, console, session)
            page.require(self.scope)
            if request.method not in protection.SAFE_METHODS:
                await _check_change(page)
            return await handler(page)
        except SessionEnded:
            return _send_to_login(request, was_logged_in=True)
        except ApiProblem as problem:
            described = describe_api_problem(problem)
        except HTTPException as error:
            described = describe_http_problem(error)
        except RequestValidationError as error:
            what = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors()[:5])
            described = describe_http_problem(
                Problem(422, f"The address is not valid: {what}.", kind="invalid-request")
            )
        except (OperationalError, InterfaceError, NoConnection) as error:
            logs.get("http").error("warehouse failed", error=type(error).__name__)
            described = describe_http_problem(
                Problem(503, "The warehouse is not available; sessions are kept there.", kind="warehouse-unavailable")
            )
        except Exception:
            logs.get("http").exception("page failed", request_id=get_request_id(request.scope))
            described = describe_http_problem(Problem(500, "", kind="internal"))
        return render_problem(request, console, session, described)


def render_problem(request: Request, console: Console, person: Session | None, problem: ProblemPage) -> Response:
    """A problem as a page, or as a part of one where htmx requested it."""
    part = request.headers.get("hx-request") == "true"
    template = "problem_part.html" if part else "problem.html"
    values = {"problem": problem, "request_id": problem.request_id or get_request_id(request.scope)}
    return render(request, console, person, template, problem.status, values)


def _send_to_login(request: Request, *, was_logged_in: bool) -> Response:
    target = request.scope["path"] + (f"?{request.url.query}" if request.url.query else "")
    if request.headers.get("hx-request") == "true":
        current = urlsplit(request.headers.get("hx-current-url", "/"))
        target = current.path + (f"?{current.query}" if current.query else "")
    elif request.method not in protection.SAFE_METHODS:
        target = "/"
    elif protection.is_lost_to_strict(request.headers):
        # The page loads itself again: then the request comes from this site, and the browser sends the cookie.
        return HTMLResponse(
            '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0">'
            "<title>Console</title></html>"
        )
    login = f"/login?next={quote(protection.clean_target(target), safe='')}" + ("&ended=1" if was_logged_in else "")
    if request.headers.get("hx-request") == "true":
        return Response(status_code=204, headers={"HX-Redirect": login})
    return RedirectResponse(login, 303)


async def _check_change(page: Page) -> None:
    """Raises Problem 403 unless the change comes from a page of this session."""
    foreign = protection.find_foreign_origin(page.headers)
    if foreign is not None:
        raise Problem(403, f"Nothing was changed: {foreign}.", kind="foreign-request")
    given = page.headers.get(protection.CSRF_HEADER)
    if given is None and page.headers.get("content-type", "").lower().startswith("multipart/"):
        given = await page.read_csrf_part()
    elif given is None:
        given = str((await page.form_fields()).get(protection.CSRF_FIELD, ""))
    if not protection.is_csrf_token(given, page.person.csrf_token):
        raise Problem(
            403, "Nothing was changed: the form is of an earlier session. Open the page again.", kind="stale-form"
        )
