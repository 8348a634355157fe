"""The platform at a glance: champions, drift, requests, health."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter
from starlette.responses import Response

from serving.console.context import Console
from serving.console.page import Page, page_router
from serving.console.sections import NavLink, Section


def routers(console: Console) -> Sequence[APIRouter]:
    """The pages."""
    routes = page_router(console, "")

    @routes.get("/")
    async def overview(page: Page) -> Response:
        return page.render("overview.html")

    return [routes]


SECTION = Section(links=[NavLink("Overview", "/", "")], routers=routers, is_first=True)
