"""Load and health of the last hours as small charts."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter
from starlette.responses import Response

from serving.console.context import Console
from serving.console.page import Page, page_router
from serving.console.sections import NavLink, Section


def routers(console: Console) -> Sequence[APIRouter]:
    """The pages."""
    routes = page_router(console, "monitor")

    @routes.get("/monitoring")
    async def monitoring(page: Page) -> Response:
        return page.render("monitoring.html")

    return [routes]


SECTION = Section(links=[NavLink("Monitoring", "/monitoring", "monitor")], routers=routers, is_first=False)
