"""Load and health of the last hours as small charts, from Prometheus or from the services' own metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from serving.console.charts import Line, Point
from serving.console.context import Console
from serving.console.figures import FIGURES, Figure, Lines
from serving.console.page import Page, page_router
from serving.console.sections import NavLink, Section

TONES: Final = ("tone-1", "tone-2", "tone-3", "tone-4")
MAX_LINES: Final = 8
BOARDS: Final[Mapping[str, str]] = {
    "api": "API",
    "models": "Models",
    "drift": "Drift and retraining",
    "logs": "Logs and resources",
}
"""Dashboards that all models share: uid → title."""


def routers(console: Console) -> Sequence[APIRouter]:
    """The page."""
    routes = page_router(console, "monitor")
    boards = dict(BOARDS) | {
        board.uid: board.title for model in console.models.values() for board in model.dashboards()
    }

    @routes.get("/monitoring")
    async def monitoring(page: Page, hours: Annotated[Literal["1", "6", "24"], Query()] = "1") -> Response:
        reading = await console.figures.read(float(hours))
        charts = [
            Chart(figure, build_chart_lines(reading.lines[figure.key], int(hours)))
            for figure in FIGURES
            if figure.key in reading.lines
        ]
        requests = await page.api.fetch("predict", "/training/requests", limit=20) if page.may("train") else None
        return page.render(
            "monitoring.html",
            hours=hours,
            reading=reading,
            drawn=charts,
            boards=boards,
            requests=requests,
            trainings=list_ended((requests and requests.value) or ()),
            absent=[figure for figure in FIGURES if figure.key not in reading.lines],
        )

    return [routes]


@dataclass(frozen=True)
class Chart:
    """A figure with its lines."""

    figure: Figure
    lines: Sequence[Line]

    @property
    def latest(self) -> Sequence[tuple[Line, float | None]]:
        """Each line with the latest value that was measured."""
        return [
            (line, next((p.value for p in reversed(line.points) if p.value is not None), None)) for line in self.lines
        ]


def list_ended(requests: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Requests for a training that have ended, with the `seconds` from the request to its end."""
    return [
        {**request, "seconds": (_read(request["updated_at"]) - _read(request["requested_at"])).total_seconds()}
        for request in requests
        if request["status"] not in ("queued", "running")
    ]


def _read(at: str) -> datetime:
    return datetime.fromisoformat(at)


def build_chart_lines(lines: Lines, hours: int) -> list[Line]:
    """Lines of a chart, the first `MAX_LINES` by name, their points named by how long ago they are."""
    built = []
    for index, name in enumerate(sorted(lines)[:MAX_LINES]):
        values = lines[name]
        points = [Point(_name_point(i, len(values), hours), value) for i, value in enumerate(values)]
        built.append(Line(name, points, TONES[index % len(TONES)]))
    return built


def _name_point(index: int, count: int, hours: int) -> str:
    minutes = round((count - 1 - index) * hours * 60 / count)
    if minutes == 0:
        return "now"
    return f"{minutes} min ago" if minutes < 120 else f"{minutes / 60:.0f} h ago"


SECTION = Section(links=[NavLink("Monitoring", "/monitoring", "monitor")], routers=routers)
