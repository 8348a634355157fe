"""Renders templates: the environment, its filters, the functions that templates call. Every value is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup

from serving.console import charts
from serving.console.static_files import StaticFile

NO_VALUE: Final = "–"


class Renderer:
    """Templates of the console and of the models' pages.

    Args:
        model_packages: model → package of its pages; its `templates/x.html` is the template `<model>/x.html`.
        static: path below `/static/` → file.
        program_urls: `dagster`, `mlflow`, `grafana` → URL of its pages.
    """

    def __init__(
        self,
        model_packages: Mapping[str, str],
        static: Mapping[str, StaticFile],
        program_urls: Mapping[str, str],
    ) -> None:
        self._static = static
        own = PackageLoader("serving.console")
        of_models = {model: PackageLoader(package) for model, package in model_packages.items()}
        self.environment = Environment(
            loader=ChoiceLoader([own, PrefixLoader(of_models)]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.filters |= {
            "number": format_number,
            "percent": format_percent,
            "when": format_time,
            "duration": format_duration,
        }
        self.environment.globals |= {
            "static_url": self.static_url,
            "charts": charts,
            "dagster_run_url": lambda run: build_dagster_url(program_urls, "runs", run),
            "dagster_asset_url": lambda key: build_dagster_url(program_urls, "assets", key),
            "mlflow_run_url": lambda run: build_mlflow_url(program_urls, run),
            "program_urls": program_urls,
        }

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        """HTML of a template."""
        return self.environment.get_template(template).render(values)

    def static_url(self, path: str) -> str:
        """URL of a static file, with its content's version. Raises KeyError for a file that is not served."""
        return f"/static/{path}?v={self._static[path].version}"


def build_dagster_url(program_urls: Mapping[str, str], kind: str, name: str | None) -> str:
    """URL of a run or of an asset (key with slashes) in Dagster; empty where there is no name."""
    return f"{program_urls['dagster']}/{kind}/{quote(name)}" if name and program_urls["dagster"] else ""


def build_mlflow_url(program_urls: Mapping[str, str], run: str | None) -> str:
    """URL of a run in MLflow; empty where there is no run, or MLflow has no pages."""
    return f"{program_urls['mlflow']}/#/runs/{quote(run)}" if run and program_urls["mlflow"] else ""


def format_number(value: object, digits: int = 3) -> str:
    """A number as people read it: whole ones with thin spaces between thousands, others with `digits` decimals."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return NO_VALUE
    if isinstance(value, int) or value.is_integer():
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:,.{digits}f}".replace(",", "\u202f")


def format_percent(value: object, digits: int = 0) -> str:
    """A share as per cent."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return NO_VALUE
    return f"{value * 100:.{digits}f}\u202f%"


def format_time(value: object) -> Markup | str:
    """A time (ISO 8601 text or datetime, UTC) as `<time>`."""
    at = _read_time(value)
    if at is None:
        return value if isinstance(value, str) else NO_VALUE
    return Markup('<time datetime="{}">{} UTC</time>').format(at.isoformat(timespec="seconds"), f"{at:%Y-%m-%d %H:%M}")


def _read_time(value: object) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def format_duration(seconds: object) -> str:
    """Seconds as people read them."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds != seconds:
        return NO_VALUE
    if seconds < 1:
        return f"{seconds * 1000:.0f}\u202fms"
    if seconds < 120:
        return f"{seconds:.1f}\u202fs"
    return f"{seconds / 60:.0f}\u202fmin" if seconds < 7200 else f"{seconds / 3600:.1f}\u202fh"
