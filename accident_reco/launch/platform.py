"""Runs the platform on one machine: pipeline, Dagster, services; prints a summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from accident_reco.contract import Model
from accident_reco.launch.home import child_environment, service_environment
from accident_reco.launch.locks import sole_platform
from accident_reco.launch.processes import Children, LaunchError, free_port, require_free_ports
from accident_reco.launch.programs import script
from accident_reco.lifecycle.bundle import Manifest
from accident_reco.lifecycle.store import ModelStore
from accident_reco.registry import models
from accident_reco.settings import Settings, variable
from accident_reco.storage.objects import open_store
from serving.auth.bootstrap import ensure_admin

READY_SECONDS = 90.0
SERVICES = ("auth", "predict", "drift", "console")
PAGES = ("console", "dagster")
"""Services whose first page is for people; the others show `/docs`."""


def run_pipeline(settings: Settings, environ: dict[str, str], *arguments: str, echo: bool = True) -> None:
    """Materialize what is missing, in a child process.

    Args:
        arguments: other work than that, as `accident_reco.defs.pipeline` takes it.
        echo: print its progress; it is in the log otherwise.

    Raises:
        LaunchError: a step failed (its output was printed, or its end is in the message), or another pipeline runs in
            this home.
    """
    with _children(settings, environ) as children:
        _materialize(children, settings.home, arguments, echo)


def run_platform(settings: Settings, environ: dict[str, str], started: float) -> None:
    """Materialize what is missing, start every service, and wait for a signal or a failure.

    Raises:
        LaunchError: a port is taken, a platform runs in this home already, a step failed, or a service ended.
    """
    require_free_ports(settings.host, service_ports(settings))
    base = service_urls(settings)
    with sole_platform(settings.home), _children(settings, environ) as children:
        _materialize(children, settings.home)
        _print("starting services …")
        password = ensure_admin(settings)
        start_dagster(children, settings)
        for name in SERVICES:
            command = [sys.executable, "-m", f"serving.{name}"]
            children.start(name, command, environ=service_environment(settings, name, environ))
        children.await_ready(readiness_urls(settings), READY_SECONDS)
        _print(summary(settings))
        if password is not None:
            _print(f"\nadmin password: {password}\n(user admin; shown once, kept in {settings.keys})")
        _print(_addresses(base, settings, time.monotonic() - started))
        while True:
            children.check()
            time.sleep(0.5)


def service_ports(settings: Settings) -> dict[str, int]:
    """Variable → port of each service that people and programs call."""
    return {variable(f"{name}_port"): getattr(settings, f"{name}_port") for name in ("dagster", *SERVICES)}


def service_urls(settings: Settings) -> dict[str, str]:
    """Service → its base URL on this machine."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return {name: f"http://{host}:{getattr(settings, f'{name}_port')}" for name in ("dagster", *SERVICES)}


def readiness_urls(settings: Settings) -> dict[str, str]:
    """Service → URL that returns 200 when it is ready."""
    return {
        name: f"{url}/{'server_info' if name == 'dagster' else 'readyz'}"
        for name, url in service_urls(settings).items()
    }


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
    pages = {name: url for name, url in base.items() if name in PAGES}
    lines = [f"  {name:<10} {url}{'' if name in pages else '/docs'}" for name, url in (pages | dict(base)).items()]
    lines.append(f"  {'logs':<10} {settings.logs}")
    return "\n".join(["", "services", *lines, "", f"ready after {seconds:.0f} s; Ctrl-C stops everything"])


@contextmanager
def _children(settings: Settings, environ: dict[str, str]) -> Iterator[Children]:
    children = Children(child_environment(settings, environ), settings.logs)
    try:
        yield children
    finally:
        children.stop()


def _materialize(children: Children, home: Path, arguments: Sequence[str] = (), echo: bool = True) -> None:
    """Run the pipeline as a child process that prints its progress; one at a time in a home."""
    command = [sys.executable, "-m", "accident_reco.defs.pipeline", *arguments]
    with sole_platform(home, "pipeline"):
        child = children.start("pipeline", command, echo=echo)
        try:
            code = child.process.wait()
        finally:
            children.end(child.name)  # before the lock is released
    if code != 0:
        hint = f"see {child.log}" if echo else f"the end of {child.log}:\n{child.tail()}"
        raise LaunchError(f"the pipeline failed with exit code {code}; {hint}")


def start_dagster(children: Children, settings: Settings) -> None:
    """Start Dagster: one code server that web server and daemon share, which halves the memory of one each."""
    port = free_port()
    workspace = settings.dagster_home / "workspace.yaml"
    workspace.write_text(
        f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {port}, location_name: accident_reco}}\n",
        encoding="utf-8",
    )
    location = ["--module-name", "accident_reco.definitions", "--location-name", "accident_reco"]
    children.start(
        "code-server", [script("dagster"), "api", "grpc", "--host", "127.0.0.1", "--port", str(port), *location]
    )
    web = ["--host", settings.host, "--port", str(settings.dagster_port), "-w", str(workspace)]
    children.start("dagster", [sys.executable, "-m", "serving.guard.dagster_server", *web])
    children.start("daemon", [script("dagster-daemon"), "run", "-w", str(workspace)])


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
