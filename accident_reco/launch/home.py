"""Prepares the embedded home: directories, Dagster's configuration, the warehouse's schema, generated secrets."""

from __future__ import annotations

import shutil
from pathlib import Path

from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse

ROOT = Path(__file__).resolve().parents[2]


def prepare_home(settings: Settings) -> None:
    """Make what every process of the platform expects to find. Safe to repeat."""
    for folder in (settings.home, settings.dagster_home, settings.logs):
        folder.mkdir(parents=True, exist_ok=True)
    settings.keys.mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(ROOT / "dagster.yaml", settings.dagster_home / "dagster.yaml")
    warehouse = Warehouse(settings.database)
    warehouse.upgrade()
    warehouse.close()


def child_environment(settings: Settings, environ: dict[str, str]) -> dict[str, str]:
    """What a child process needs to know: where things are kept, and no telemetry."""
    return environ | {
        "ACCIDENT_RECO_HOME": str(settings.home),
        "DAGSTER_HOME": str(settings.dagster_home),
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "PYTHONUNBUFFERED": "1",
    }
