"""Grafana dashboards as plain data: rows of panels with their queries.

A model returns its own from `Model.dashboards()`; `deploy/grafana` has those that all models share, and renders all of
them to Grafana's JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

PanelKind = Literal["series", "stat", "table", "bars", "map", "logs"]
Source = Literal["prometheus", "warehouse", "loki"]


@dataclass(frozen=True)
class MapLayer:
    """Circles of a map, one per row of the query, placed by its columns `latitude` and `longitude`.

    Args:
        size: column that sets the size of a circle.
        color: column that sets its colour.
    """

    name: str
    size: str
    color: str


@dataclass(frozen=True)
class Panel:
    """One panel.

    Args:
        description: what it shows, in one sentence.
        queries: (legend, expression) of Prometheus or Loki, or one SQL statement for the warehouse.
        unit: Grafana's id of a unit.
        width: columns, of 24.
        height: rows of Grafana's grid.
        layer: of a map.
    """

    kind: PanelKind
    title: str
    description: str
    queries: Sequence[tuple[str, str]] | str
    source: Source
    unit: str = "short"
    width: int = 12
    height: int = 8
    layer: MapLayer | None = None


@dataclass(frozen=True)
class Dashboard:
    """Titled rows of panels.

    Args:
        uid: name of its file and last part of its address.
        since: start of the time range shown first, such as `now-7d`.
    """

    uid: str
    title: str
    description: str
    rows: Sequence[tuple[str, Sequence[Panel]]]
    since: str


def sql_panel(kind: PanelKind, title: str, description: str, statement: str, **options: Any) -> Panel:
    """A panel on the warehouse; white space of the statement is collapsed."""
    return Panel(kind, title, description, " ".join(statement.split()), "warehouse", **options)


def stat_panel(title: str, description: str, statement: str, unit: str = "short") -> Panel:
    """A small panel with the one value of a statement on the warehouse."""
    return sql_panel("stat", title, description, statement, unit=unit, width=6, height=4)


def log_panel(kind: PanelKind, title: str, description: str, *queries: tuple[str, str], **options: Any) -> Panel:
    """A panel on logs, by LogQL."""
    return Panel(kind, title, description, queries, "loki", **options)


def metric_panel(kind: PanelKind, title: str, description: str, *queries: tuple[str, str], **options: Any) -> Panel:
    """A panel on metrics, by PromQL."""
    return Panel(kind, title, description, queries, "prometheus", **options)
