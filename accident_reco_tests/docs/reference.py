"""Generates the reference part of the README from the code: `make docs` writes it, a test compares."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from accident_reco.settings import Settings
from accident_reco.settings.environment import combine
from accident_reco.settings.plugins import installed_names

README = Path(__file__).resolve().parents[2] / "README.md"
BEGIN, END = "<!-- reference: made by `make docs` -->", "<!-- end of reference -->"
SERVICES = ("auth", "predict", "drift")
COMMON = ("/livez", "/readyz", "/metrics")


def reference() -> str:
    """Assets, jobs, sensors, endpoints, metrics and settings as Markdown tables."""
    with tempfile.TemporaryDirectory() as home:
        apps = {name: _app(name, Path(home)) for name in SERVICES}
        return "\n".join([*_graph(), *_endpoints(apps), *_metrics(apps), *_settings(), ""])


def _app(service: str, home: Path) -> Any:
    return import_module(f"serving.{service}.app").create_app(Settings.load(home=home))


def _graph() -> Iterator[str]:
    from accident_reco.definitions import defs

    definitions = defs()
    graph = definitions.resolve_asset_graph()
    yield "### Assets\n\nKeys are contracts. `year`: partitioned by year, from 2005 on."
    yield "\n| asset | | description |\n|---|---|---|"
    for key in sorted(graph.materializable_asset_keys, key=lambda key: key.to_user_string()):
        node = graph.get(key)
        yield f"| `{key.to_user_string()}` | {'`year`' if node.is_partitioned else ''} | {node.description} |"
    yield "\n### Jobs, sensors and schedules\n\n| job | description |\n|---|---|"
    for job in definitions.resolve_all_job_defs():
        if not job.name.startswith("__"):
            yield f"| `{job.name}` | {job.description} |"
    yield "\n| sensor or schedule | description |\n|---|---|"
    for automation in [*(definitions.sensors or ()), *(definitions.schedules or ())]:
        yield f"| `{automation.name}` | {automation.description} |"


def _endpoints(apps: dict[str, Any]) -> Iterator[str]:
    yield "\n### Endpoints\n\n| service | endpoint | scope | description |\n|---|---|---|---|"
    for service, app in apps.items():
        for path, method, operation in _operations(app):
            if path not in COMMON:
                yield f"| {service} | `{method} {path}` | {_scope(operation)} | {operation['summary']} |"
    for path, method, operation in _operations(apps["predict"]):
        if path in COMMON:
            yield f"| all | `{method} {path}` | | {operation['summary']} |"
    yield "| all | `GET /docs` | | Interactive documentation of every field; no resource of another host |"


def _operations(app: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def _scope(operation: dict[str, Any]) -> str:
    scopes = [scope for scheme in operation.get("security", []) for scope in scheme.get("login", [])]
    return f"`{scopes[0]}`" if scopes else ""


def _metrics(apps: dict[str, Any]) -> Iterator[str]:
    yield "\n### Metrics\n\n| metric | service | description |\n|---|---|---|"
    services_of: dict[tuple[str, str], list[str]] = {}
    for service, app in apps.items():
        for family in app.state.metrics.registry.collect():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            services_of.setdefault((name, family.documentation), []).append(service)
    for (name, text), services in services_of.items():
        yield f"| `{name}` | {'all' if len(services) == len(apps) else ', '.join(services)} | {text} |"


def _settings() -> Iterator[str]:
    from accident_reco.settings import variable

    yield "\n### Settings\n\nEach secret can also be set as `NAME_FILE`, the path of a file that holds it."
    for heading, fields in settings_class().groups().items():
        yield f"\n**{heading}**\n\n| setting | default | description |\n|---|---|---|"
        for name, field in fields.items():
            default = "" if field.default in ("", None) else f"`{field.default}`"
            yield f"| `{variable(name)}` | {default} | {field.description} |"


def settings_class() -> type[Settings]:
    """The platform's settings with those of every installed model."""
    return combine(installed_names())


def with_reference(readme: str) -> str:
    """The README with a new reference part."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{reference()}{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    README.write_text(with_reference(README.read_text(encoding="utf-8")), encoding="utf-8")
