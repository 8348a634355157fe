"""State of a home as plain data: what runs, which versions serve, which requests are open. Changes nothing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from accident_reco.launch.locks import is_locked
from accident_reco.launch.platform import readiness_urls, service_urls
from accident_reco.launch.processes import LOOPBACK, answers
from accident_reco.launch.running import RunningPlatform
from accident_reco.lifecycle.store import ModelStore
from accident_reco.registry import models
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store
from accident_reco.storage.process_states import LAUNCHERS, read_states
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import open_requests

STACK_PROBES = {
    "mlflow": "health",
    "s3": "healthz",
    "prometheus": "-/ready",
    "alertmanager": "-/ready",
    "exporter": "livez",
}
"""Server of the stack → path that returns 200 when it is ready."""


def services(settings: Settings, running: RunningPlatform | None) -> list[dict[str, Any]]:
    """Name, URL and readiness of each service; those of the stack too where one runs. Empty where nothing runs."""
    if running is None or not running.has_services:
        return []
    urls, probes = service_urls(settings), readiness_urls(settings)
    if running.kind == "stack":
        for name, path in STACK_PROBES.items():
            urls[name] = f"http://{LOOPBACK}:{getattr(settings, f'{name}_port')}"
            probes[name] = f"{urls[name]}/{path}"
    return [{"name": name, "url": url, "ready": answers(probes[name])} for name, url in urls.items()]


def processes(home: Path) -> list[dict[str, Any]]:
    """Each supervised process with its state, restarts and latest unexpected end; empty where nothing runs."""
    running = [launcher for launcher in LAUNCHERS if is_locked(home / f"{launcher}.lock")]
    return [asdict(state) for launcher in running for state in read_states(home, launcher)]


def production_models(settings: Settings) -> list[dict[str, Any]]:
    """Production version of each model, with data source, headline metrics, time and reason of its promotion.

    Without a version the fields are None; a version that cannot be read has its `problem`.
    """
    store = ModelStore(open_store(settings.store))
    found = []
    for name, model in models(settings).items():
        row: dict[str, Any] = dict.fromkeys(("version", "data_source", "promoted_at", "reason", "problem"))
        row = {"name": name, **row, "metrics": {}}
        try:
            champion = store.champion(name)
        except (LookupError, ValueError) as error:
            champion, row["problem"] = None, str(error)
        if champion is not None:
            pointer, manifest = champion
            known = {metric: manifest.metrics.get(metric) for metric in model.task.headline}
            row |= {
                "version": pointer.version,
                "data_source": manifest.data_source,
                "promoted_at": pointer.promoted_at,
                "reason": pointer.reason,
                "metrics": {metric: value for metric, value in known.items() if isinstance(value, int | float)},
            }
        found.append(row)
    return found


def requests_in_progress(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Queued and running requests, oldest first, with times as ISO 8601."""
    names = ("id", "kind", "model", "source", "requested_by", "reason", "status", "run_id")
    return [
        {name: row[name] for name in names} | {"requested_at": row["requested_at"].isoformat()}
        for row in open_requests(warehouse)
    ]
