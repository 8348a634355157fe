"""Runs the platform on one machine: Dagster, pipeline, services; prints a summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from accident_reco.contract import Model
from accident_reco.launch.dagster_servers import (
    start_code_server,
    start_daemon,
    start_web_server,
    workspace_file,
)
from accident_reco.launch.home import child_environment, service_environment
from accident_reco.launch.locks import sole_platform
from accident_reco.launch.processes import Children, LaunchError, require_free_ports
from accident_reco.launch.running import find_running
from accident_reco.launch.supervision import supervise
from accident_reco.lifecycle.bundle import Manifest
from accident_reco.lifecycle.store import ModelStore
from accident_reco.registry import models
from accident_reco.settings import Settings, variable
from accident_reco.storage.objects import open_store
from serving.auth.bootstrap import ensure_admin

READY_SECONDS = 90.0
SERVICES = ("auth", "predict", "drift", "console")
PROBES = {"dagster": "server_info", "mlflow": "health"}
"""Program that others made → path that returns 200 when it is ready; `readyz` for the services."""
PAGES = ("console", *PROBES)
"""Programs whose first page is for people; the others show `/docs`."""


def run_pipeline(settings: Settings, environ: dict[str, str], *arguments: str, echo: bool = True) -> None:
    """Materialize what is missing, in a child process.

    Args:
        arguments: other work than that, as `accident_reco.defs.pipeline` takes it.
        echo: print its progress; it is in the log otherwise.

    Raises:
        LaunchError: a step failed (its output was printed, or its end is in the message), or another pipeline runs in
            this home.
    """
    running = find_running(settings.home)
    with _children(settings, environ) as children:
        if running is not None and running.has_services:  # its Dagster executes the runs, from its queue
            _materialize(children, settings, ["--queued", *arguments], echo)
        else:
            start_code_server(children, settings)
            _materialize(children, settings, arguments, echo)


def run_platform(settings: Settings, environ: dict[str, str], started: float) -> None:
    """Materialize what is missing, start every service, and keep all of them running until a signal.

    Raises:
        LaunchError: a port is taken, a platform runs in this home already, a step failed, a service ended before
            all were ready, or every process was given up.
    """
    base = service_urls(settings)
    with sole_platform(settings.home), _children(settings, environ) as children:
        require_free_ports(settings.host, service_ports(settings))
        start_code_server(children, settings)
        start_web_server(children, settings)
        _print(f"Dagster: {base['dagster']}")
        _materialize(children, settings, ["--launched-by", "accident-reco up"])
        _print("starting services …")
        password = ensure_admin(settings)
        start_daemon(children, settings)  # after the first runs: its sensors would request the same ones
        for name in SERVICES:
            command = [sys.executable, "-m", f"serving.{name}"]
            children.start(name, command, environ=service_environment(settings, name, environ))
        if not settings.has_tracking_server:
            command = [sys.executable, "-m", "serving.guard.mlflow_server"]
            children.start("mlflow", command, environ=service_environment(settings, "mlflow", environ))
        children.await_ready(readiness_urls(settings), READY_SECONDS)
        _print(summary(settings))
        if password is not None:
            _print(f"\nadmin password: {password}\n(user admin; shown once, kept in {settings.keys})")
        _print(_addresses(base, settings, time.monotonic() - started))
        supervise([children], settings.home, "platform")


def service_names(settings: Settings) -> tuple[str, ...]:
    """What listens on a port: Dagster, the services, and MLflow's pages unless a tracking server has its own."""
    return ("dagster", *SERVICES, *(() if settings.has_tracking_server else ("mlflow",)))


def service_ports(settings: Settings) -> dict[str, int]:
    """Variable → port of each service that people and programs call."""
    return {variable(f"{name}_port"): getattr(settings, f"{name}_port") for name in service_names(settings)}


def service_urls(settings: Settings) -> dict[str, str]:
    """Service → its base URL on this machine."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return {name: f"http://{host}:{getattr(settings, f'{name}_port')}" for name in service_names(settings)}


def readiness_urls(settings: Settings) -> dict[str, str]:
    """Service → URL that returns 200 when it is ready."""
    return {name: f"{url}/{PROBES.get(name, 'readyz')}" for name, url in service_urls(settings).items()}


def summary(settings: Settings) -> str:
    """Production version of each model with its data source and holdout metrics, as text."""
    store = ModelStore(open_store(settings.store))
    lines = []
    for name, model in models(settings).items():
        champion = store.champion(name)
        if champion is None:
            lines.append(f"  {name:<10} no version was promoted yet")
            continue
        pointer, manifest = champion
        lines.append(f"  {name:<10} {pointer.version}  from {manifest.data_source} data  {_headline(model, manifest)}")
    return "\n".join(["", "production models", *lines])


def _headline(model: Model, manifest: Manifest) -> str:
    known = [(name, manifest.metrics.get(name)) for name in model.task.headline]
    return "  ".join(f"{name} {value:.3f}" for name, value in known if isinstance(value, int | float))


def _addresses(base: Mapping[str, str], settings: Settings, seconds: float) -> str:
    urls = {"mlflow": settings.mlflow_url} | dict(base)
    ordered = {name: urls[name] for name in PAGES if name in urls} | urls
    lines = [f"  {name:<10} {url}{'' if name in PAGES else '/docs'}" for name, url in ordered.items()]
    lines.append(f"  {'logs':<10} {settings.logs}")
    return "\n".join(["", "services", *lines, "", f"ready after {seconds:.0f} s; Ctrl-C stops everything"])


@contextmanager
def _children(settings: Settings, environ: dict[str, str]) -> Iterator[Children]:
    children = Children(child_environment(settings, environ), settings.logs)
    try:
        yield children
    finally:
        children.stop()


def _materialize(children: Children, settings: Settings, arguments: Sequence[str] = (), echo: bool = True) -> None:
    """Launch the pipeline's runs from a child process that prints their progress; one at a time in a home."""
    program = [sys.executable, "-m", "accident_reco.defs.pipeline", "--workspace", str(workspace_file(settings))]
    with sole_platform(settings.home, "pipeline"):
        others = list(children.started)
        child = children.start("pipeline", [*program, *arguments], echo=echo)
        try:
            code = children.wait(child, others)
        finally:
            children.end(child.name)  # before the lock is released
    if code != 0:
        hint = f"see {child.log}" if echo else f"the end of {child.log}:\n{child.tail()}"
        raise LaunchError(f"the pipeline failed with exit code {code}; {hint}")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
