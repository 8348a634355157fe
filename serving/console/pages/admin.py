"""Accounts, API keys, audit log."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter
from starlette.responses import Response

from serving.console.context import Console
from serving.console.page import Page, page_router
from serving.console.sections import NavLink, Section


def routers(console: Console) -> Sequence[APIRouter]:
    """The pages."""
    routes = page_router(console, "admin")

    @routes.get("/admin")
    async def admin(page: Page) -> Response:
        return page.render("admin.html")

    return [routes]


SECTION = Section(links=[NavLink("Admin", "/admin", "admin")], routers=routers, is_first=False)
