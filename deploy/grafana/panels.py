"""Renders dashboards as `accident_reco.dashboards` describes them with Grafana's own SDK."""

from __future__ import annotations

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

from accident_reco.dashboards import Dashboard, MapLayer, Panel

KINDS = {
    "series": timeseries.Panel,
    "stat": stat.Panel,
    "table": table.Panel,
    "bars": barchart.Panel,
    "map": geomap.Panel,
    "logs": logs.Panel,
}
SOURCES = {
    "prometheus": DataSourceRef(type_val="prometheus", uid="prometheus"),
    "warehouse": DataSourceRef(type_val="grafana-postgresql-datasource", uid="warehouse"),
    "loki": DataSourceRef(type_val="loki", uid="loki"),
}


class SqlQuery(Dataquery):
    """A query to PostgreSQL; the SDK has no class of its own for it."""

    def __init__(self, sql: str, series: bool) -> None:
        self.sql, self.series = sql, series
        self.ref_id: str | None = "A"

    def to_json(self) -> dict[str, object]:
        """The query as Grafana stores it."""
        return {
            "refId": self.ref_id,
            "datasource": SOURCES["warehouse"],
            "editorMode": "code",
            "rawQuery": True,
            "format": "time_series" if self.series else "table",
            "rawSql": self.sql,
        }


class _Built(Builder[Any]):
    """A part that is built already, where the SDK expects a builder."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def build(self) -> Any:
        return self._part


def build_dashboard(board: Dashboard) -> Any:
    """The SDK's dashboard."""
    built = dashboard.Dashboard(board.title).uid(board.uid).description(board.description).tags(["accident_reco"])
    built = built.editable().time(board.since, "now").refresh("30s").timezone("browser").tooltip(1)
    for name, panels in board.rows:
        built = built.with_row(dashboard.Row(name))
        for panel in panels:
            built = built.with_panel(_build_panel(panel))
    return built.build()


def _build_panel(panel: Panel) -> Any:
    built = KINDS[panel.kind]().title(panel.title).description(panel.description).unit(panel.unit)
    built = built.span(panel.width).height(panel.height).datasource(SOURCES[panel.source])
    if isinstance(panel.queries, str):
        built = built.with_target(_Built(SqlQuery(panel.queries, panel.kind == "series")))
    else:
        for ref, (legend, expression) in zip("ABCDEFGH", panel.queries, strict=False):
            built = built.with_target(_build_query(panel, expression, legend, ref))
    if panel.kind == "bars":
        built = built.legend(_Built(VizLegendOptions(show_legend=False)))
    if panel.layer is not None:
        built = built.layers([_Built(_map_layer(panel.layer))])
    return built


def _build_query(panel: Panel, expression: str, legend: str, ref: str) -> Any:
    if panel.source == "loki":
        return loki.Dataquery().expr(expression).legend_format(legend).ref_id(ref)
    query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(ref)
    return query.instant().format(PromQueryFormat.TABLE) if panel.kind == "table" else query.range()


def _map_layer(layer: MapLayer) -> MapLayerOptions:
    style = {"size": {"field": layer.size, "min": 4, "max": 24}, "color": {"field": layer.color}, "opacity": 0.6}
    return MapLayerOptions(
        type_val="markers",
        name=layer.name,
        tooltip=True,
        location=FrameGeometrySource(mode=FrameGeometrySourceMode.COORDS, latitude="latitude", longitude="longitude"),
        config={"style": style},
    )
