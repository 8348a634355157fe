"""Login, logout, appearance: the pages that need no session."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from serving.common.routing import StrictRequest
from serving.console import protection
from serving.console.context import Console
from serving.console.page import THEME_COOKIE, Page, is_secure, page_router, render
from serving.console.sessions import COOKIE, LoginRefused

MAX_FORM_BYTES = 32 * 1024


def router(console: Console) -> APIRouter:
    """The pages without a session; they carry the same headers as all others."""
    routes = APIRouter(include_in_schema=False)

    def show(request: Request, target: str, problem: str = "", status: int = 200, *, ended: bool = False) -> Response:
        values = {"target": protection.clean_target(target), "problem": problem, "ended": ended}
        response = render(request, console, None, "login.html", status, values)
        return _protect(response)

    @routes.get("/login")
    async def login_page(
        request: Request, target: Annotated[str, Query(alias="next")] = "/", ended: bool = False
    ) -> Response:
        return show(request, target, ended=ended)

    @routes.post("/login")
    async def log_in(request: Request) -> Response:
        fields = await StrictRequest(request.scope, request.receive, frozenset()).form()
        target = protection.clean_target(str(fields.get("next", "/")))
        # There is no session yet whose token the form could carry.
        foreign = protection.find_foreign_origin(request.headers)
        if foreign is not None:
            return show(request, target, f"You were not logged in: {foreign}.", 403)
        address = request.client.host if request.client else ""
        try:
            session = await console.sessions.log_in(
                str(fields.get("username", "")), str(fields.get("password", "")), address
            )
        except LoginRefused as refused:
            response = show(request, target, str(refused), refused.status)
            if refused.wait:
                response.headers["retry-after"] = refused.wait
            return response
        response = RedirectResponse(target, 303)
        # Without a lifetime: the browser forgets it when it is closed, the warehouse when it is not used.
        response.set_cookie(COOKIE, session.secret, httponly=True, samesite="strict", secure=is_secure(request))
        return _protect(response)

    own = page_router(console)

    @own.post("/logout")
    async def log_out(page: Page) -> Response:
        await console.sessions.log_out(page.person, page.client.host if page.client else "")
        response = page.redirect("/login")
        response.delete_cookie(COOKIE)
        response.headers["clear-site-data"] = '"cache"'
        return response

    @own.post("/appearance")
    async def set_appearance(page: Page) -> Response:
        fields = await page.form_fields()
        response = page.redirect(protection.clean_target(str(fields.get("next", "/"))))
        theme = str(fields.get("theme", ""))
        if theme in ("light", "dark"):
            response.set_cookie(
                THEME_COOKIE, theme, max_age=365 * 86_400, httponly=True, samesite="strict", secure=is_secure(page)
            )
        else:
            response.delete_cookie(THEME_COOKIE)
        return response

    routes.include_router(own)
    return routes


def _protect(response: Response) -> Response:
    for name, value in protection.HEADERS.items():
        response.headers.setdefault(name, value)
    return response
