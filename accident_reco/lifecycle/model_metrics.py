"""Copies metrics of the stored versions to the warehouse, for dashboards."""

from __future__ import annotations

from accident_reco.lifecycle.store import ModelStore
from accident_reco.storage.model_metrics import save_metrics
from accident_reco.storage.warehouse import Warehouse


def record_model_metrics(models: ModelStore, warehouse: Warehouse, model: str) -> int:
    """Write the metrics of every stored version of a model; returns the number of versions."""
    versions = models.versions(model)
    for version in versions:
        manifest = models.manifest(model, version)
        save_metrics(warehouse, model, version, manifest.metrics, manifest.data_source, manifest.created_at)
    return len(versions)
