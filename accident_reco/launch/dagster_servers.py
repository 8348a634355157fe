"""Dagster on one machine: one code server that web server and daemon share, which halves the memory of each."""

from __future__ import annotations

import hashlib
import sys
from importlib.metadata import version
from pathlib import Path

from accident_reco.launch.processes import LOOPBACK, Children, LaunchError, free_port
from accident_reco.launch.programs import script
from accident_reco.settings import Settings

CODE_SERVER, WEB_SERVER, DAEMON = "code-server", "dagster", "daemon"


def workspace_file(settings: Settings) -> Path:
    """The file with the address of the home's code server."""
    return settings.dagster_home / "workspace.yaml"


def start_code_server(children: Children, settings: Settings) -> None:
    """Bring Dagster's storage up to date, write the workspace file, start the code server on a free port.

    Raises:
        LaunchError: the storage cannot be migrated.
    """
    _migrate_storage(children, settings)
    port = free_port()
    workspace_file(settings).write_text(
        f"load_from:\n  - grpc_server: {{host: {LOOPBACK}, port: {port}, location_name: accident_reco}}\n",
        encoding="utf-8",
    )
    children.start(CODE_SERVER, code_server_command(LOOPBACK, port))


def code_server_command(host: str, port: int) -> list[str]:
    """Command line of the code server."""
    location = ["--module-name", "accident_reco.definitions", "--location-name", "accident_reco"]
    return [sys.executable, "-m", "accident_reco.defs.code_server", "--host", host, "--port", str(port), *location]


def _migrate_storage(children: Children, settings: Settings) -> None:
    """Create or migrate the storage before any server: two that create SQLite files at once destroy them.

    A file with the release and the storage that were migrated saves the seconds at the next start.
    """
    url = settings.dagster_database_url
    state = f"{version('dagster')} {hashlib.sha256(url.encode()).hexdigest()}"
    done = settings.dagster_home / "migrated"
    exists = bool(url) or (settings.dagster_home / "history" / "runs.db").exists()
    if exists and done.exists() and done.read_text(encoding="utf-8") == state:
        return
    child = children.start("migrate", [script("dagster"), "instance", "migrate"])
    code = child.process.wait()
    tail = child.tail()
    children.end(child.name)
    if code != 0:
        raise LaunchError(f"Dagster's storage cannot be migrated; the end of {child.log}:\n{tail}")
    done.write_text(state, encoding="utf-8")


def start_web_server(children: Children, settings: Settings) -> None:
    """Start Dagster's pages behind their guard."""
    web = ["--host", settings.host, "--port", str(settings.dagster_port), "-w", str(workspace_file(settings))]
    children.start(WEB_SERVER, [sys.executable, "-m", "serving.guard.dagster_server", *web])


def start_daemon(children: Children, settings: Settings) -> None:
    """Start sensors, schedules, automation and the queue of runs."""
    children.start(DAEMON, [script("dagster-daemon"), "run", "-w", str(workspace_file(settings))])


def start_dagster(children: Children, settings: Settings) -> None:
    """Start all three."""
    start_code_server(children, settings)
    start_web_server(children, settings)
    start_daemon(children, settings)
