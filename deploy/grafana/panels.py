"""Renders dashboards as `accident_reco.dashboards` describes them with Grafana's own SDK."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.builders import (
    barchart,
    dashboard,
    geomap,
    logs,
    loki,
    prometheus,
    stat,
    table,
    text,
    timeseries,
)
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.geomap import MapViewConfig, TooltipMode, TooltipOptions
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from parts import SOURCES, Built, SqlQuery, annotations, links, variables

from accident_reco.dashboards import COLUMNS, Dashboard, Format, MapLayer, Panel

KINDS = {
    "series": timeseries.Panel,
    "stat": stat.Panel,
    "table": table.Panel,
    "bars": barchart.Panel,
    "map": geomap.Panel,
    "logs": logs.Panel,
}
FRANCE = MapViewConfig(id_val="coords", lat=46.6, lon=2.6, zoom=5.4, all_layers=True)
OUTLINES = common_models.MapLayerOptions(
    # A file of Grafana itself: tiles would come from the internet.
    type_val="geojson",
    name="Outlines",
    config={
        "src": "public/maps/countries.geojson",
        "rules": [],
        "style": {"color": {"fixed": "text"}, "opacity": 0.1, "lineWidth": 1},
    },
)


def build_dashboard(board: Dashboard) -> Any:
    """The SDK's dashboard."""
    built = dashboard.Dashboard(board.title).uid(board.uid).tags(["accident_reco", board.person.replace(" ", "-")])
    built = built.description(f"For the {board.person}: {board.questions}")
    built = built.editable().time(board.since, "now").refresh(board.refresh).timezone("browser").tooltip(1)
    for link in links():
        built = built.link(link)
    for variable in variables(board):
        built = built.with_variable(variable)
    if any(panel.kind == "series" for panel in board.panels):
        for annotation in annotations(board):
            built = built.annotation(annotation)
    questions = text.Panel().title("").content(f"**For the {board.person}.** {board.questions}").span(24).height(2)
    built = built.with_panel(questions.mode("markdown").transparent(True))
    for name, panels in board.rows:
        built = built.with_row(dashboard.Row(name))
        for panel in panels:
            built = built.with_panel(_build_panel(panel))
    return built.build()


def _build_panel(panel: Panel) -> Any:
    built = KINDS[panel.kind]().title(panel.title).description(panel.description)
    built = built.span(panel.width).height(panel.height).datasource(SOURCES[panel.source])
    built = _apply_format(built, panel.shown)
    for column, shown in _columns(panel):
        built = built.override_by_name(column, _properties(panel, shown))
    if isinstance(panel.queries, str):
        built = built.with_target(Built(SqlQuery(panel.queries, panel.kind == "series")))
    else:
        for ref, (legend, expression) in zip("ABCDEFGH", panel.queries, strict=False):
            built = built.with_target(_build_query(panel, expression, legend, ref))
    if panel.kind == "bars":
        built = built.legend(Built(common_models.VizLegendOptions(show_legend=False)))
        if panel.width >= 12:  # labels of categories are sentences: they need lines of their own
            built = built.orientation(common_models.VizOrientation.HORIZONTAL)
        built = built.x_tick_label_max_length(40).show_value(common_models.VisibilityMode.AUTO)
    if panel.kind == "stat" and panel.shown.words:
        built = built.color_mode(common_models.BigValueColorMode.BACKGROUND)
    if panel.kind == "logs":
        built = built.show_time(True).wrap_log_message(True).enable_log_details(True)
        built = built.sort_order(common_models.LogsSortOrder.DESCENDING)
    if panel.layer is not None:
        built = built.view(Built(FRANCE)).basemap(Built(OUTLINES)).layers([Built(_map_layer(panel.layer))])
        built = built.tooltip(Built(TooltipOptions(mode=TooltipMode.DETAILS)))
    return built


def _columns(panel: Panel) -> Iterator[tuple[str, Format]]:
    """The formats of the panel's columns: of `COLUMNS`, those that its statement names."""
    if panel.kind == "table":
        queries = panel.queries if isinstance(panel.queries, str) else " ".join(e for _, e in panel.queries)
        for name, shown in COLUMNS.items():
            if name not in panel.columns and re.search(rf"\b{name}\b", queries):
                yield name, shown
    yield from panel.columns.items()


def _apply_format(built: Any, shown: Format) -> Any:
    if shown.unit:
        built = built.unit(shown.unit)
    if shown.decimals is not None:
        built = built.decimals(shown.decimals)
    if shown.words:
        built = built.mappings(_mappings(shown))
    if shown.steps:
        built = built.thresholds(Built(_thresholds(shown)))
        built = built.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    return built


def _properties(panel: Panel, shown: Format) -> list[models.DynamicConfigValue]:
    """Grafana's field options of a column."""
    values: list[tuple[str, Any]] = []
    if shown.unit:
        values.append(("unit", shown.unit))
    if shown.decimals is not None:
        values.append(("decimals", shown.decimals))
    if shown.words:
        values.append(("mappings", _mappings(shown)))
    if shown.steps:
        values += [("thresholds", _thresholds(shown)), ("color", {"mode": "thresholds"})]
    if panel.kind == "table" and (shown.words or shown.steps):
        values.append(("custom.cellOptions", {"type": "color-text"}))
    if shown.links:
        opened = [{"title": title, "url": url, "targetBlank": True} for title, url in shown.links.items()]
        values.append(("links", opened))
    return [models.DynamicConfigValue(id_val=name, value=value) for name, value in values]


def _mappings(shown: Format) -> list[Any]:
    options = {
        value: models.ValueMappingResult(text=words, color=color, index=index)
        for index, (value, (words, color)) in enumerate(shown.words.items())
    }
    return [models.ValueMap(options=options)]


def _thresholds(shown: Format) -> models.ThresholdsConfig:
    first, *others = shown.steps
    steps = [models.Threshold(value=None, color=first[1])]
    steps += [models.Threshold(value=bound, color=color) for bound, color in others]
    return models.ThresholdsConfig(mode=models.ThresholdsMode.ABSOLUTE, steps=steps)


def _build_query(panel: Panel, expression: str, legend: str, ref: str) -> Any:
    if panel.source == "loki":
        return loki.Dataquery().expr(expression).legend_format(legend).ref_id(ref)
    query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(ref)
    return query.instant().format(PromQueryFormat.TABLE) if panel.kind == "table" else query.range()


def _map_layer(layer: MapLayer) -> common_models.MapLayerOptions:
    style = {"size": {"field": layer.size, "min": 4, "max": 24}, "color": {"field": layer.color}, "opacity": 0.7}
    return common_models.MapLayerOptions(
        type_val="markers",
        name=layer.name,
        tooltip=True,
        location=common_models.FrameGeometrySource(
            mode=common_models.FrameGeometrySourceMode.COORDS, latitude="latitude", longitude="longitude"
        ),
        config={"style": style, "showLegend": True},
    )
