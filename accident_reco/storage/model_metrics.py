"""Metrics of model versions, for dashboards: reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select

from accident_reco.storage.tables.lifecycle import model_metrics
from accident_reco.storage.warehouse import Warehouse


def save_metrics(
    warehouse: Warehouse, model: str, version: str, metrics: Mapping[str, Any], data_source: str, created_at: str
) -> None:
    """Replace the metrics of one model version; values that are not numbers are left out."""
    key = {"model": model, "version": version}
    origin = {"data_source": data_source, "created_at": datetime.fromisoformat(created_at) if created_at else None}
    rows = [
        {**key, **origin, "metric": name[:64], "value": float(value)}
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value
    ]
    with warehouse.begin() as connection:
        connection.execute(delete(model_metrics).filter_by(**key))
        if rows:
            connection.execute(model_metrics.insert(), rows)


def has_metrics(warehouse: Warehouse, model: str, version: str) -> bool:
    """Whether metrics of a model version are stored."""
    query = select(model_metrics.c.metric).where(model_metrics.c.model == model, model_metrics.c.version == version)
    with warehouse.connect() as connection:
        return connection.execute(query.limit(1)).first() is not None
