"""Generates the reference pages of the documentation from the code: `make docs` writes them, a test compares.

One function per page, each yielding lines of Markdown. Pages that a person writes are beside them in `docs/pages`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from accident_reco.settings import Settings
from accident_reco.settings.environment import combine
from accident_reco.settings.plugins import installed_names
from accident_reco_tests.docs.licences import licence_page
from accident_reco_tests.docs.markdown import Lines, code, table
from accident_reco_tests.docs.programs import commands

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "pages" / "reference"
NOTE = "<!-- Generated from the code by `make docs`; edit the descriptions there. -->"
SERVICES = ("auth", "predict", "drift", "console")
COMMON = ("/livez", "/readyz", "/metrics")


def assets() -> Lines:
    """Asset keys with partitions, checks and descriptions."""
    yield "# Assets\n\nWhich data and models does the platform produce, and what is checked?"
    yield "\nAsset keys are contracts. `year`: partitioned by the years that the source offers."
    graph = load_definitions().resolve_asset_graph()
    keys = sorted(graph.materializable_asset_keys, key=lambda key: key.to_user_string())
    yield from table(
        ("asset", "", "description"),
        ((code(key.to_user_string()), _partition(graph.get(key)), graph.get(key).description) for key in keys),
    )
    yield "\n## Asset checks\n\nA blocking check that fails stops everything downstream of its asset."
    checks = sorted(graph.asset_check_nodes, key=lambda node: (node.key.asset_key.to_user_string(), node.key.name))
    yield from table(
        ("check", "asset", "blocking", "description"),
        (
            (
                code(node.key.name),
                code(node.key.asset_key.to_user_string()),
                "yes" if node.blocking else "",
                node.description,
            )
            for node in checks
        ),
    )


def jobs() -> Lines:
    """Jobs, sensors and schedules."""
    definitions = load_definitions()
    yield "# Jobs, sensors and schedules\n\nWhich work can be started, and what starts it automatically?"
    yield "\n## Jobs"
    named = [job for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")]
    yield from table(("job", "description"), ((code(job.name), job.description) for job in named))
    yield "\n## Sensors and schedules\n\nSensors are enabled by default."
    automations = [*(definitions.sensors or ()), *(definitions.schedules or ())]
    yield from table(("sensor or schedule", "description"), ((code(one.name), one.description) for one in automations))


def endpoints() -> Lines:
    """Endpoints of the services with their scopes."""
    yield "# Endpoints\n\nWhich HTTP endpoints exist, and which scope does each require?"
    yield "\n`/docs` of each service describes every field. An empty scope: no token is needed."
    rows = []
    for service in SERVICES:
        for path, method, operation in _operations(service):
            if path not in COMMON:
                rows.append((service, code(f"{method} {path}"), _scope(operation), operation["summary"]))
    for path, method, operation in _operations("predict"):
        if path in COMMON:
            rows.append(("all", code(f"{method} {path}"), "", operation["summary"]))
    page = "Interactive documentation of every field; no resource of another host"
    yield from table(("service", "endpoint", "scope", "description"), [*rows, ("all", code("GET /docs"), "", page)])


def metrics() -> Lines:
    """Prometheus metrics of the services and of the exporter, and recording rules."""
    yield "# Metrics\n\nWhat do the services and the exporter report to Prometheus?"
    yield "\n## Services\n\n`GET /metrics` of each service."
    services_of: dict[tuple[str, str], list[str]] = {}
    for service in SERVICES:
        for family in _app(service).state.metrics.registry.collect():
            services_of.setdefault((_metric_name(family), family.documentation), []).append(service)
    yield from table(
        ("metric", "service", "description"),
        (
            (code(name), "all" if len(services) == len(SERVICES) else ", ".join(services), text)
            for (name, text), services in services_of.items()
        ),
    )
    yield "\n## Dagster exporter\n\n`python -m accident_reco.defs.exporter`, port `ACCIDENT_RECO_EXPORTER_PORT`."
    yield from table(
        ("metric", "labels", "description"),
        (
            (code(_metric_name(family)), ", ".join(map(code, family._labelnames)), family.documentation)
            for family in _exported()
        ),
    )
    yield "\n## Recording rules\n\nPrometheus computes these for dashboards and alerts (`deploy/prometheus/rules`)."
    yield from table(
        ("metric", "expression"),
        ((code(rule["record"]), code(" ".join(rule["expr"].split()))) for _, rule in _rules("recording.yml")),
    )


def alerts() -> Lines:
    """Alerting rules."""
    yield "# Alerts\n\nWhich conditions notify an operator or request a training?"
    yield "\nAlerts with the action `retrain` are also sent to the drift service, which requests a training as far as"
    yield "the [retrain policy](../explanation/retraining.md) permits it. `page` needs an operator soon."
    for group, rule in _rules("alerts.yml"):
        labels, notes = rule["labels"], rule["annotations"]
        yield f"\n## {rule['alert']}\n\n{_without_templates(notes['description'])}"
        yield f"\n- Condition: {code(' '.join(rule['expr'].split()))}"
        yield f"- Duration: {rule.get('for', 'none')}"
        yield f"- Severity: {labels['severity']}; action: {labels.get('action', 'none')}; group: {group}"


def settings() -> Lines:
    """Environment variables by group."""
    from accident_reco.settings import variable

    yield "# Settings\n\nWhat can be configured, and what is the default?"
    yield "\nSettings are environment variables. Each secret can also be set as `NAME_FILE`, the path of a file that"
    yield "holds it. A start with wrong settings lists all of them in one message."
    for heading, fields in settings_class().groups().items():
        yield f"\n## {heading}"
        rows = []
        for name, field in fields.items():
            default = "" if field.default in ("", None) else code(field.default)
            rows.append((code(variable(name)), default, field.description))
        yield from table(("setting", "default", "description"), rows)


def tables() -> Lines:
    """Tables and views of the warehouse."""
    from accident_reco.storage.migrations.accident_views import VIEWS
    from accident_reco.storage.ownership import _owner
    from accident_reco.storage.tables import all_tables

    yield "# Tables\n\nWhat does the warehouse contain? Every column has a comment; `*` marks the primary key."
    for one in [*sorted(all_tables().tables.values(), key=lambda one: one.name), _owner]:
        yield f"\n## {one.name}\n\n{one.comment}."
        yield from table(
            ("column", "type", "description"),
            (
                (code(column.name) + ("\\*" if column.primary_key else ""), column.type, column.comment)
                for column in one.c
            ),
        )
    yield "\n## Views\n\nFor dashboards:\n"
    yield from (f"- {code(name)}" for name in VIEWS)


def quarantine() -> Lines:
    """Rules that send a row of published data to quarantine."""
    from accident_reco.models.accidents.data.quarantine import RULES

    yield "# Quarantine rules\n\nWhich rows of published data are refused or repaired, and what can be done about it?"
    yield "\n## Accidents\n\nThe asset `accidents/quarantine` and the table `quarantine` list every refused row and"
    yield "every repaired value with file, line, value, rule and fix."
    yield from table(
        ("rule", "", "outcome", "fix"),
        ((code(rule.name), rule.disposition, rule.outcome, rule.remediation) for rule in RULES.values()),
    )
    yield "\n## Movies\n\nThe table `rating_quarantine` lists every refused row with file, line, value and rule."
    yield from table(("rule", "message"), _rating_rules())


def _rating_rules() -> Iterator[tuple[str, str]]:
    import numpy as np

    from accident_reco.models.movies.data.quarantine import _RULES, RatingRules
    from accident_reco.models.movies.data.ratings import RatingScale

    rules = RatingRules(RatingScale(0.5, 5.0, 0.5), np.empty(0, np.int64), now=0)
    for name in _RULES:
        yield code(name), rules._describe(name, "…", "…", "…", "…").replace(" (0)", "").replace("'", "")
    yield code("malformed"), "line … does not have the file's number of columns"


def licences() -> Lines:
    """Licences of the packages in the lock file."""
    title, _, body = licence_page().partition("\n\n")
    yield f"{title}\n\nUnder which licences are the packages that the platform uses?"
    yield f"\n{body.rstrip()}"


GENERATED: dict[str, Callable[[], Lines]] = {
    page.__name__: page
    for page in (assets, jobs, endpoints, metrics, alerts, settings, tables, quarantine, commands, licences)
}
"""File name without ending → page."""


def render(name: str) -> str:
    """The Markdown of a generated page."""
    title, *rest = GENERATED[name]()
    return "\n".join([title, "", NOTE, *rest, ""])


def settings_class() -> type[Settings]:
    """The platform's settings with those of every installed model."""
    return combine(installed_names())


@cache
def load_definitions() -> Any:
    """The definitions of the code location."""
    from accident_reco.definitions import defs

    return defs()


@cache
def _app(service: str) -> Any:
    with tempfile.TemporaryDirectory() as home:
        return import_module(f"serving.{service}.app").create_app(Settings.load(home=Path(home)))


def _partition(node: Any) -> str:
    return code("year") if node.is_partitioned else ""


def _operations(service: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in _app(service).openapi()["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def _scope(operation: dict[str, Any]) -> str:
    scopes = [scope for scheme in operation.get("security", []) for scope in scheme.get("login", [])]
    return code(scopes[0]) if scopes else ""


def _metric_name(family: Any) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _exported() -> list[Any]:
    """Metric families of the exporter on an empty instance."""
    import dagster as dg

    from accident_reco.defs.exporter import InstanceCollector
    from accident_reco.lifecycle.store import ModelStore
    from accident_reco.storage.objects import open_store
    from accident_reco.storage.warehouse import Warehouse

    with tempfile.TemporaryDirectory() as home, dg.DagsterInstance.ephemeral() as instance:
        settings = Settings.load(home=Path(home))
        warehouse = Warehouse(settings.database)
        try:
            warehouse.upgrade()
            return list(InstanceCollector(instance, warehouse, ModelStore(open_store(settings.store)), ()).collect())
        finally:
            warehouse.close()


def _rules(file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    import yaml

    document = yaml.safe_load((ROOT / "deploy/prometheus/rules" / file).read_text(encoding="utf-8"))
    for group in document["groups"]:
        for rule in group["rules"]:
            yield group["name"], rule


def _without_templates(text: str) -> str:
    """A description without Prometheus' placeholders, which Markdown and Jinja would read."""
    return text.replace("{{ $labels.model }}", "`<model>`")


def main() -> None:
    """Write every generated page."""
    for name in GENERATED:
        (PAGES / f"{name}.md").write_text(render(name), encoding="utf-8")


if __name__ == "__main__":
    main()
