"""Grafana dashboards as plain data: rows of panels with their queries, and how their values read.

A model returns its own from `Model.dashboards()`; `deploy/grafana` has those that all models share, and renders all of
them to Grafana's JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

PanelKind = Literal["series", "stat", "table", "bars", "map", "logs"]
Source = Literal["prometheus", "warehouse", "loki"]
Person = Literal["administrator", "data scientist", "analyst"]
Variable = Literal["model", "version", "service", "department", "request", "run"]


@dataclass(frozen=True)
class Format:
    """How the values of a column or of a panel's series read.

    Args:
        unit: Grafana's id of a unit; `none` is the number itself, `locale` has thousands separators.
        decimals: digits after the point; chosen by Grafana if None.
        words: value → (text, colour).
        steps: (lower bound, colour), ascending; the first colour holds below its bound too.
        links: title → URL that a click opens; `${__value.raw}` is the value, `${__data.fields.model}` another column's.
    """

    unit: str = ""
    decimals: int | None = None
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    steps: Sequence[tuple[float, str]] = ()
    links: Mapping[str, str] = field(default_factory=dict)


_VERSION: Final = Format(
    links={
        "Versions in the console": "${console}/models/${__data.fields.model}",
        "Registered versions in MLflow": "${mlflow}/#/models/${__data.fields.model}",
        "Metrics of this version": "/d/models?var-model=${__data.fields.model}&var-version=${__value.raw}",
    }
)
_SHARE: Final = Format("percentunit", decimals=1)
YES: Final = MappingProxyType({"true": ("yes", "green"), "false": ("no", "orange")})
UP: Final = MappingProxyType({"1": ("up", "green"), "0": ("down", "red")})
COLUMNS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "year": Format("none", decimals=0),
        "version": _VERSION,
        "previous": _VERSION,
        "run_id": Format(links={"Run in Dagster": "${dagster}/runs/${__value.raw}"}),
        "request_id": Format(links={"Its log lines": "/d/logs?var-request=${__value.raw}"}),
        "work_request": Format(links={"Decisions and requests": "/d/drift"}),
        "latency_ms": Format("ms", decimals=1),
        "score": _SHARE,
        "drifted_share": _SHARE,
        "promoted": Format(words=YES),
        "status": Format(
            words={
                "drift": ("drift", "red"),
                "warning": ("warning", "orange"),
                "stable": ("stable", "green"),
                "insufficient_data": ("insufficient data", "text"),
                "failed": ("failed", "red"),
                "refused": ("rejected", "orange"),
                "promoted": ("promoted", "green"),
            }
        ),
        "action": Format(
            words={
                "promote": ("promoted", "green"),
                "refuse": ("rejected", "orange"),
                "rollback": ("rolled back", "red"),
                "rollout_start": ("rollout started", "blue"),
                "rollout_advance": ("rollout advanced", "blue"),
                "rollout_promote": ("promoted by the rollout", "green"),
                "rollout_back": ("rollout stepped back", "orange"),
                "rollout_abort": ("rollout aborted", "red"),
                "rollout_replace": ("rollout replaced", "text"),
                "rollout_end": ("rollout ended", "text"),
                "train": ("train", "green"),
                "suggest": ("suggest", "blue"),
                "wait": ("wait", "text"),
            }
        ),
    }
)
"""Columns that read the same in every table that has them."""


@dataclass(frozen=True)
class MapLayer:
    """Circles of a map, one per row of the query, placed by its columns `latitude` and `longitude`.

    Args:
        size: column that sets the size of a circle.
        color: column that sets its colour, by the steps of its format.
    """

    name: str
    size: str
    color: str


@dataclass(frozen=True)
class Panel:
    """One panel.

    Args:
        description: what it shows, in one sentence.
        queries: (legend, expression) of Prometheus or Loki, or one SQL statement for the warehouse. Ranges in square
            brackets are `$__rate_interval`, `$__auto` or `$__range`: a fixed one misses events when a person zooms out.
        shown: how values read, unless their column is in `columns` or `COLUMNS`.
        columns: column → format.
        width: columns, of 24.
        height: rows of Grafana's grid.
        layer: of a map.
    """

    kind: PanelKind
    title: str
    description: str
    queries: Sequence[tuple[str, str]] | str
    source: Source
    shown: Format = field(default_factory=Format)
    columns: Mapping[str, Format] = field(default_factory=dict)
    width: int = 12
    height: int = 8
    layer: MapLayer | None = None


@dataclass(frozen=True)
class Dashboard:
    """Titled rows of panels that answer the questions of one person.

    Args:
        uid: name of its file and last part of its address.
        questions: what it answers, in one sentence, shown at its top.
        since: start of the time range shown first, such as `now-7d`.
        variables: what a person can choose; queries name them `$model`, in SQL `${model:sqlstring}`.
        refresh: time between automatic reloads; empty where a query reads years of data, which change once a load.
    """

    uid: str
    title: str
    person: Person
    questions: str
    rows: Sequence[tuple[str, Sequence[Panel]]]
    since: str
    variables: Sequence[Variable] = ()
    refresh: str = ""

    @property
    def panels(self) -> list[Panel]:
        """The panels of all rows."""
        return [panel for _, panels in self.rows for panel in panels]


def sql_panel(kind: PanelKind, title: str, description: str, statement: str, unit: str = "", **options: Any) -> Panel:
    """A panel on the warehouse; white space of the statement is collapsed. Numbers read as they are without a unit."""
    shown = options.pop("shown", Format(unit or "none"))
    return Panel(kind, title, description, " ".join(statement.split()), "warehouse", shown, **options)


def stat_panel(title: str, description: str, statement: str, unit: str = "locale") -> Panel:
    """A small panel with the one value of a statement on the warehouse."""
    decimals = 1 if unit == "percentunit" else None
    return sql_panel("stat", title, description, statement, shown=Format(unit, decimals), width=6, height=4)


def log_panel(kind: PanelKind, title: str, description: str, *queries: tuple[str, str], **options: Any) -> Panel:
    """A panel on logs, by LogQL."""
    return Panel(kind, title, description, queries, "loki", **options)


def metric_panel(
    kind: PanelKind, title: str, description: str, *queries: tuple[str, str], unit: str = "", **options: Any
) -> Panel:
    """A panel on metrics, by PromQL."""
    shown = options.pop("shown", Format(unit or ("none" if kind == "table" else "short")))
    return Panel(kind, title, description, queries, "prometheus", shown, **options)
