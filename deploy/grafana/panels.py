"""Words for dashboards: a panel is a kind, a title, what it tells, and its questions. Built on Grafana's own SDK."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import barchart, dashboard, geomap, logs, loki, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import (
    FrameGeometrySource,
    FrameGeometrySourceMode,
    MapLayerOptions,
    VizLegendOptions,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

KINDS = {
    "series": timeseries.Panel, "stat": stat.Panel, "table": table.Panel, "bars": barchart.Panel,
    "map": geomap.Panel, "logs": logs.Panel,
}  # fmt: skip
SOURCES = {
    "prometheus": DataSourceRef(type_val="prometheus", uid="prometheus"),
    "warehouse": DataSourceRef(type_val="grafana-postgresql-datasource", uid="warehouse"),
    "loki": DataSourceRef(type_val="loki", uid="loki"),
}


class SqlQuery(Dataquery):
    """A question to PostgreSQL; the SDK has no class of its own for it."""

    def __init__(self, sql: str, series: bool) -> None:
        self.sql, self.series = sql, series
        self.ref_id: str | None = None

    def to_json(self) -> dict[str, object]:
        """As Grafana stores it."""
        return {
            "refId": self.ref_id, "datasource": SOURCES["warehouse"], "editorMode": "code", "rawQuery": True,
            "format": "time_series" if self.series else "table", "rawSql": self.sql,
        }  # fmt: skip


class _Given(Builder[Any]):
    """A part that is built already, where the SDK wants something to build."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def build(self) -> Any:
        return self._part


_CIRCLES = MapLayerOptions(
    type_val="markers",
    name="Departments",
    tooltip=True,
    location=FrameGeometrySource(mode=FrameGeometrySourceMode.COORDS, latitude="latitude", longitude="longitude"),
    config={
        "style": {
            "size": {"field": "accidents", "min": 4, "max": 24},
            "color": {"field": "gravely hurt"},
            "opacity": 0.6,
        }
    },
)


@dataclass(frozen=True)
class Panel:
    """One panel. `queries` are (legend, expression) for Prometheus and Loki, or one SQL statement."""

    kind: str
    title: str
    tells: str
    queries: Sequence[tuple[str, str]] | str
    source: str = "prometheus"
    unit: str = "short"
    width: int = 12
    height: int = 8

    def builder(self) -> Any:
        """The SDK's panel."""
        panel = KINDS[self.kind]().title(self.title).description(self.tells).unit(self.unit)
        panel = panel.span(self.width).height(self.height).datasource(SOURCES[self.source])
        if isinstance(self.queries, str):
            panel = panel.with_target(_sql(self.queries, self.kind == "series"))
        else:
            for number, (legend, expression) in enumerate(self.queries):
                panel = panel.with_target(self._query(expression, legend, "ABCDEFGH"[number]))
        if self.kind == "bars":
            panel = panel.legend(_Given(VizLegendOptions(show_legend=False)))
        if self.kind == "map":
            panel = panel.layers([_Given(_CIRCLES)])
        return panel

    def _query(self, expression: str, legend: str, ref: str) -> Any:
        if self.source == "loki":
            return loki.Dataquery().expr(expression).legend_format(legend).ref_id(ref)
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(ref)
        return query.instant().format(PromQueryFormat.TABLE) if self.kind == "table" else query.range()


def make(uid: str, title: str, description: str, rows: Sequence[tuple[str, Sequence[Panel]]], since: str) -> Any:
    """A dashboard of titled rows."""
    built = (
        dashboard.Dashboard(title).uid(uid).description(description).tags(["accident_reco"]).editable()
        .time(since, "now").refresh("30s").timezone("browser").tooltip(1)
    )  # fmt: skip
    for name, panels in rows:
        built = built.with_row(dashboard.Row(name))
        for panel in panels:
            built = built.with_panel(panel.builder())
    return built.build()


def _sql(statement: str, series: bool) -> _Given:
    query = SqlQuery(statement, series)
    query.ref_id = "A"
    return _Given(query)
