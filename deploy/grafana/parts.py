"""Parts that all dashboards share: data sources, variables, annotations, links."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import dashboard as models

from accident_reco.dashboards import Dashboard

SOURCES = {
    "prometheus": models.DataSourceRef(type_val="prometheus", uid="prometheus"),
    "warehouse": models.DataSourceRef(type_val="grafana-postgresql-datasource", uid="warehouse"),
    "loki": models.DataSourceRef(type_val="loki", uid="loki"),
}
ADDRESSES = {
    "dagster": "http://localhost:8080",
    "console": "http://localhost:8002",
    "mlflow": "http://localhost:5000",
}
"""Constants of each dashboard, for links: addresses as compose publishes them."""
QUERIES = {
    "model": ("warehouse", "SELECT DISTINCT model FROM model_metrics ORDER BY 1"),
    "version": (
        "warehouse",
        "SELECT DISTINCT version FROM model_metrics WHERE model IN (${model:sqlstring}) ORDER BY 1",
    ),
    "service": ("prometheus", "label_values(log_lines_total, service)"),
    "department": ("warehouse", "SELECT DISTINCT dep FROM accidents WHERE dep IS NOT NULL ORDER BY 1"),
}
"""Variable → source and query of its values; the others are typed in."""
ANNOTATIONS = {
    "Promotions": (
        "green",
        """
        SELECT decided_at AS time, model || ' ' || version || ' promoted: ' || reason AS text FROM promotions
        WHERE $__timeFilter(decided_at) AND action = 'promote' AND promoted""",
    ),
    "Rollbacks": (
        "orange",
        """
        SELECT decided_at AS time, model || ' rolled back to ' || version || ': ' || reason AS text FROM promotions
        WHERE $__timeFilter(decided_at) AND action = 'rollback'""",
    ),
    "Drift": (
        "red",
        """
        SELECT computed_at AS time, model || ' has drifted: ' || reason AS text FROM drift_reports
        WHERE $__timeFilter(computed_at) AND status = 'drift'""",
    ),
}
"""What happened to the models, drawn over every time series."""


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


class Built(Builder[Any]):
    """A part that is built already, where the SDK expects a builder."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def build(self) -> Any:
        """The part."""
        return self._part


class SqlAnnotation(models.AnnotationQuery):
    """An annotation by a statement on the warehouse."""

    def __init__(self, name: str, color: str, statement: str) -> None:
        super().__init__(name=name, datasource=SOURCES["warehouse"], enable=True, hide=False, icon_color=color)
        self.statement = statement

    def to_json(self) -> dict[str, object]:
        """The annotation as Grafana stores it."""
        return super().to_json() | {"target": SqlQuery(self.statement, series=False).to_json()}


def annotations(board: Dashboard) -> Iterator[Builder[Any]]:
    """Promotions, rollbacks and verdicts of drift; of the chosen models where a dashboard has that variable."""
    for name, (color, statement) in ANNOTATIONS.items():
        chosen = " AND model IN (${model:sqlstring})" if "model" in board.variables else ""
        yield Built(SqlAnnotation(name, color, " ".join(statement.split()) + chosen))


def variables(board: Dashboard) -> Iterator[Builder[Any]]:
    """The dashboard's choices, then the addresses that its links need."""
    for name in board.variables:
        if name not in QUERIES:
            yield dashboard.TextBoxVariable(name).label(f"{name} id").default_value("")
            continue
        source, query = QUERIES[name]
        made = dashboard.QueryVariable(name).label(name).datasource(SOURCES[source]).query(query)
        made = made.refresh(models.VariableRefresh.ON_DASHBOARD_LOAD).multi(True).include_all(True)
        yield made.current(models.VariableOption(text="All", value="$__all"))
    for name, address in ADDRESSES.items():
        made = dashboard.ConstantVariable(name).value(address)
        yield Built(_hidden(made.build(), address))


def _hidden(variable: Any, address: str) -> Any:
    variable.hide = models.VariableHide.HIDE_VARIABLE
    variable.current = models.VariableOption(text=address, value=address)
    return variable


def links() -> Iterator[Builder[Any]]:
    """The other dashboards, with the same time range and choices."""
    made = dashboard.DashboardLink("Dashboards").type(models.DashboardLinkType.DASHBOARDS).tags(["accident_reco"])
    yield made.as_dropdown(True).include_vars(True).keep_time(True)
