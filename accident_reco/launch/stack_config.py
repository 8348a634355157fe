"""Configuration of a native stack: the files of `deploy/` with loopback addresses and local paths."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from accident_reco.launch.home import ROOT
from accident_reco.launch.processes import LOOPBACK
from accident_reco.settings import Settings, variable

DEPLOY = ROOT / "deploy"
ALERT_SECRET_PATH = "/run/secrets/alert_secret"  # noqa: S105  # where compose and Kubernetes mount it
BUCKETS = ("artifacts", "mlflow")
ONLY_CONTAINERS = frozenset({"loki", "alloy", "grafana"})
"""Scrape jobs of servers that a native stack does not have: they have no package in Debian, PyPI or npm."""
# Kind of login → role and database. The first three own their database.
LOGINS = {
    "database_url": ("platform", "platform"),
    "dagster_database_url": ("dagster", "dagster"),
    "mlflow_database_url": ("mlflow", "mlflow"),
    "auth_database_url": ("platform_auth", "platform"),
    "services_database_url": ("platform_services", "platform"),
    "console_database_url": ("platform_console", "platform"),
    "reader_database_url": ("platform_reader", "platform"),
}
OWNERS = ("database_url", "dagster_database_url", "mlflow_database_url")


def secret(folder: Path, name: str) -> str:
    """A generated secret, kept in a file of mode 0600 and reused at every start."""
    path = folder / name
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text(encoding="utf-8").strip()  # an editor ends the file with a new line


def database_urls(settings: Settings, folder: Path) -> dict[str, str]:
    """SQLAlchemy URL of every login, passwords included."""
    return {
        kind: f"postgresql+psycopg2://{role}:{quote(secret(folder, f'postgres-{role}'))}"
        f"@{LOOPBACK}:{settings.postgres_port}/{database}"
        for kind, (role, database) in LOGINS.items()
    }


def stack_environment(settings: Settings, folder: Path, urls: Mapping[str, str]) -> dict[str, str]:
    """Variables with which the platform runs on the stack instead of embedded storage."""
    named = {variable(kind): url for kind, url in urls.items()}
    return named | {
        variable("store_url"): "s3://artifacts/platform",
        variable("alert_secret"): secret(folder, "alert-secret"),
        variable("prometheus_url"): f"http://{LOOPBACK}:{settings.prometheus_port}",
        "MLFLOW_TRACKING_URI": f"http://{LOOPBACK}:{settings.mlflow_port}",
        **mlflow_token(settings, folder),
        **s3_environment(settings, folder),
    }


def mlflow_token(settings: Settings, folder: Path) -> dict[str, str]:
    """The bearer token with which trainings log in MLflow where its pages require a login; MLflow's own variable."""
    return {"MLFLOW_TRACKING_TOKEN": secret(folder, "mlflow-token")} if settings.page_login else {}


def s3_environment(settings: Settings, folder: Path) -> dict[str, str]:
    """The standard variables of S3 clients."""
    return {
        "AWS_ENDPOINT_URL": f"http://{LOOPBACK}:{settings.s3_port}",
        "AWS_ACCESS_KEY_ID": secret(folder, "s3-access-key"),
        "AWS_SECRET_ACCESS_KEY": secret(folder, "s3-secret-key"),
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def addresses(settings: Settings, node: int, postgres: int, s3_metrics: int) -> dict[str, str]:
    """Address in the deployment → address on this machine."""
    ports = {
        "auth:7999": settings.auth_port,
        "predict:8000": settings.predict_port,
        "drift:8001": settings.drift_port,
        "console:8002": settings.console_port,
        "exporter:9400": settings.exporter_port,
        "dagster:8080": settings.dagster_port,
        "mlflow:5000": settings.mlflow_port,
        "s3:9327": s3_metrics,
        "alertmanager:9093": settings.alertmanager_port,
        "localhost:9090": settings.prometheus_port,
        "node-exporter:9100": node,
        "postgres-exporter:9187": postgres,
    }
    return {name: f"{LOOPBACK}:{port}" for name, port in ports.items()}


def prometheus_config(known: Mapping[str, str], interval: str | None = None) -> str:
    """deploy/prometheus for this machine, without the containers' logs. Raises KeyError for another unknown address."""
    document = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    document["rule_files"] = [str(DEPLOY / "prometheus" / path) for path in document["rule_files"]]
    document["scrape_configs"] = [job for job in document["scrape_configs"] if job["job_name"] not in ONLY_CONTAINERS]
    groups = [job["static_configs"] for job in document["scrape_configs"]]
    groups += [manager["static_configs"] for manager in document["alerting"]["alertmanagers"]]
    for static in (entry for group in groups for entry in group):
        static["targets"] = [known[target] for target in static["targets"]]
    if interval:
        document["global"] |= {"scrape_interval": interval, "evaluation_interval": interval}
        for job in document["scrape_configs"]:
            job.pop("scrape_timeout", None)
    return yaml.safe_dump(document, sort_keys=False)


def alertmanager_config(known: Mapping[str, str], alert_secret: Path, every: str | None = None) -> str:
    """deploy/alertmanager for this machine; `every` replaces all its waits and intervals."""
    document = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
    for hook in (hook for receiver in document["receivers"] for hook in receiver.get("webhook_configs", [])):
        host, _, path = hook["url"].removeprefix("http://").partition("/")
        hook["url"] = f"http://{known[host]}/{path}"
        authorization = hook["http_config"]["authorization"]
        if authorization["credentials_file"] == ALERT_SECRET_PATH:
            authorization["credentials_file"] = str(alert_secret)
    routes: list[dict[str, Any]] = [document["route"], *document["route"]["routes"]]
    for route in routes if every else []:
        route |= dict.fromkeys(("group_wait", "group_interval", "repeat_interval"), every)
    return yaml.safe_dump(document, sort_keys=False)
