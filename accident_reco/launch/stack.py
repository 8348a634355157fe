"""Runs the production stack natively on one machine: the servers, and the platform as `accident-reco up` on them.

The platform is the same program with other variables, which `$HOME/stack/environment` keeps for other commands.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

from accident_reco.launch import stack_servers as servers
from accident_reco.launch.locks import sole_platform
from accident_reco.launch.platform import service_ports
from accident_reco.launch.postgres_server import start_postgres
from accident_reco.launch.private_files import private_files, protect_home
from accident_reco.launch.processes import LOOPBACK, Children, LaunchError, answers, free_port, require_free_ports
from accident_reco.launch.stack_config import (
    BUCKETS,
    OWNERS,
    addresses,
    alertmanager_config,
    database_urls,
    mlflow_token,
    prometheus_config,
    s3_environment,
    secret,
    stack_environment,
)
from accident_reco.launch.supervision import Supervisor, supervise, supervising
from accident_reco.settings import Settings, variable
from accident_reco.storage.roles import ensure_databases

READY_SECONDS = 120.0
DEBIAN_UNITS = {"postgres": "postgresql", "prometheus": "prometheus", "alertmanager": "prometheus-alertmanager"}
"""Server → the unit that Debian starts when it installs the server's package, on the same port."""
STORAGE_PORTS = ("postgres", "s3")
PORTS = (*STORAGE_PORTS, "mlflow", "prometheus", "alertmanager", "exporter")


def run_stack(settings: Settings, environ: dict[str, str]) -> None:
    """Start every server, then the platform, and keep all of them running until a signal.

    Raises:
        LaunchError: a port is in use, a program is missing, a process ended before all were ready, or every one was
            given up.
    """
    stack_folder(settings)
    protect_home(settings.home)
    s3_metrics = free_port()
    with ExitStack() as running:
        running.enter_context(sole_platform(settings.home, "stack"))
        # Before the servers: another platform there would look like this one's.
        require_free_ports(settings.host, service_ports(settings))
        children, stack = running.enter_context(stack_servers(settings, environ, s3_metrics))
        platform = Children(stack, settings.logs)
        try:
            platform.start("platform", [sys.executable, "-m", "accident_reco.cli", "up"], echo=True)
            with supervising([children], settings.home, "stack") as servers_only:
                _await_platform(platform, servers_only, settings)
            start_exporter(children, settings, stack)
            start_monitoring(children, settings, s3_metrics)
            _print(_addresses(settings))
            supervise([children, platform], settings.home, "stack")
        finally:
            platform.stop(seconds=15.0)  # it stops its own children first: the log is flushed while the databases run


@contextmanager
def stack_servers(
    settings: Settings, environ: dict[str, str], s3_metrics: int = 0
) -> Iterator[tuple[Children, dict[str, str]]]:
    """PostgreSQL, S3 and MLflow with roles, databases and buckets; yields them and the platform's variables."""
    _require_ports(settings, PORTS)
    with storage_servers(settings, environ, s3_metrics) as (children, stack):
        keys = secrets_folder(settings)
        _print("starting MLflow …")
        mlflow = servers.start_mlflow(
            children,
            settings.mlflow_port,
            database_urls(settings, keys)["mlflow_database_url"],
            "s3://mlflow/artifacts",
            **s3_environment(settings, keys),
            **mlflow_token(settings, keys),
        )
        children.await_ready({"mlflow": mlflow}, READY_SECONDS)
        yield children, stack


@contextmanager
def storage_servers(
    settings: Settings, environ: dict[str, str], s3_metrics: int = 0
) -> Iterator[tuple[Children, dict[str, str]]]:
    """PostgreSQL and S3 with roles, databases and buckets; yields them and the variables of clients."""
    folder = stack_folder(settings)
    _require_ports(settings, STORAGE_PORTS)
    keys = secrets_folder(settings)
    urls = database_urls(settings, keys)
    admin = secret(keys, "postgres-superuser")
    stack = environ | stack_environment(settings, keys, urls)
    children = Children(environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONUNBUFFERED": "1"}, settings.logs)
    try:
        _print("starting PostgreSQL and S3 …")
        postgres = start_postgres(children, folder / "postgres", settings.postgres_port, admin)
        s3 = s3_environment(settings, keys)
        store = servers.start_s3(
            children,
            folder / "s3",
            servers.seaweed_ports(settings.s3_port),
            s3["AWS_ACCESS_KEY_ID"],
            s3["AWS_SECRET_ACCESS_KEY"],
            BUCKETS,
            s3_metrics,
        )
        children.await_ready({"postgres": postgres, "s3": store}, READY_SECONDS)
        address = f"{LOOPBACK}:{settings.postgres_port}"
        superuser = f"postgresql+psycopg2://postgres:{quote(admin)}@{address}/postgres"
        ensure_databases(
            superuser, [urls[kind] for kind in OWNERS], [url for kind, url in urls.items() if kind not in OWNERS]
        )
        write_environment(folder / "environment", stack, environ)
        yield children, stack
    finally:
        children.stop()


@contextmanager
def storage_of_home(settings: Settings, environ: dict[str, str]) -> Iterator[dict[str, str]]:
    """PostgreSQL and S3 of a home whose stack does not run, for a command on its databases; yields their variables.

    Raises:
        LaunchError: a stack runs in this home, or a port is in use.
    """
    stack_folder(settings)
    protect_home(settings.home)
    with sole_platform(settings.home, "stack"), storage_servers(settings, environ) as (_, stack):
        yield {name: value for name, value in stack.items() if environ.get(name) != value}


def start_exporter(children: Children, settings: Settings, stack: dict[str, str]) -> None:
    """Start the exporter of Dagster's state and wait until it is live."""
    environ = stack | {"DAGSTER_HOME": str(settings.dagster_home)}
    command = [sys.executable, "-m", "accident_reco.defs.exporter"]
    children.start("exporter", command, environ=environ)
    children.await_ready({"exporter": f"http://{LOOPBACK}:{settings.exporter_port}/livez"}, READY_SECONDS)


def start_monitoring(children: Children, settings: Settings, s3_metrics: int) -> None:
    """Start the machine's and PostgreSQL's exporters, Prometheus with its rules, and Alertmanager."""
    folder, keys = stack_folder(settings), secrets_folder(settings)
    node, database = free_port(), free_port()
    admin = secret(keys, "postgres-superuser")
    servers.start_node_exporter(children, node)
    servers.start_postgres_exporter(children, database, settings.postgres_port, admin)
    known = addresses(settings, node, database, s3_metrics)
    config = folder / "prometheus.yml"
    interval = f"{settings.scrape_seconds}s" if settings.scrape_seconds else None
    config.write_text(prometheus_config(known, interval), encoding="utf-8")
    routing = folder / "alertmanager.yml"
    routing.write_text(alertmanager_config(known, keys / "alert-secret"), encoding="utf-8")
    prometheus = servers.start_prometheus(children, folder / "prometheus", settings.prometheus_port, config)
    alertmanager = servers.start_alertmanager(children, folder / "alertmanager", settings.alertmanager_port, routing)
    children.await_ready({"prometheus": prometheus, "alertmanager": alertmanager}, READY_SECONDS)


def stack_folder(settings: Settings) -> Path:
    """Folder of the servers' data; created if missing, as the home."""
    folder = settings.home / "stack"
    with private_files():
        for made in (folder, settings.logs):
            made.mkdir(parents=True, exist_ok=True)
    return folder


def secrets_folder(settings: Settings) -> Path:
    """Folder of the generated passwords; created if missing."""
    folder = stack_folder(settings) / "keys"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def write_environment(path: Path, stack: dict[str, str], environ: dict[str, str]) -> None:
    """Write the variables that the stack adds, for a shell: `set -a; . FILE; set +a`. With passwords: mode 0600."""
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in stack.items() if environ.get(name) != value]
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(lines)


def _await_platform(platform: Children, servers: Supervisor, settings: Settings) -> None:
    """Wait for the platform, however long its first trainings take: it prints its progress, and ends if it fails.

    Raises:
        LaunchError: the platform ended, or every server was given up.
    """
    ready = f"http://{LOOPBACK}:{settings.predict_port}/readyz"
    while not answers(ready):
        platform.check()
        servers.step()
        time.sleep(0.5)


def _require_ports(settings: Settings, names: Sequence[str]) -> None:
    """Check that the servers' ports are free.

    Raises:
        LaunchError: with every port in use, and what to do about servers that Debian has started on them.
    """
    try:
        require_free_ports(settings.host, {variable(f"{n}_port"): getattr(settings, f"{n}_port") for n in names})
    except LaunchError as error:
        units = [unit for name, unit in DEBIAN_UNITS.items() if f"{variable(f'{name}_port')} " in str(error)]
        if not units:
            raise
        fix = f"`sudo systemctl disable --now {' '.join(units)}`"
        without_systemd = "; ".join(f"sudo service {unit} stop" for unit in units)
        raise LaunchError(
            f"{error}\nDebian starts such a server when it installs the package, and the stack starts its own; to stop "
            f"Debian's: {fix}, or without systemd `{without_systemd}`"
        ) from None


def _addresses(settings: Settings) -> str:
    shown = {
        "mlflow": settings.mlflow_port,
        "prometheus": settings.prometheus_port,
        "alertmanager": settings.alertmanager_port,
    }
    lines = [f"  {name:<13} http://{LOOPBACK}:{port}" for name, port in shown.items()]
    lines.append(f"  {'postgresql':<13} {LOOPBACK}:{settings.postgres_port}: platform, dagster, mlflow")
    lines.append(f"  {'s3':<13} http://{LOOPBACK}:{settings.s3_port}, bucket artifacts")
    lines.append(f"  {'environment':<13} {stack_folder(settings) / 'environment'}")
    return "\n".join(["", "stack", *lines])


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
