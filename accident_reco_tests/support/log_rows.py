"""Rows for the prediction log, and what its metrics and its table have of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from accident_reco.storage.tables.prediction_log import predictions
from accident_reco.storage.warehouse import Warehouse
from serving.common.metrics import Metrics
from serving.predict.prediction_log import Call


def call(n: int = 1, name: str = "a", **changes: Any) -> Call:
    """A call with `n` predictions whose ids begin with `name`."""
    made: dict[str, Any] = {
        "model": "accidents",
        "version": "v",
        "request_id": "r",
        "user_name": "ada",
        "source": "json",
        "status": 200,
        "latency_ms": 1.0,
        "ids": [f"{name}-{i}" for i in range(n)],
        "inputs": [{"catu": 1}] * n,
        "scores": [0.5] * n,
        "answers": ["grave"] * n,
    }
    return Call(**made | changes)


def stored_ids(warehouse: Warehouse) -> set[str]:
    """Ids of all logged predictions."""
    with warehouse.connect() as connection:
        return set(connection.scalars(select(predictions.c.id)))


def value(metrics: Metrics, series: str) -> float:
    """Value of one series of the exposition."""
    (line,) = [line for line in metrics.exposition().decode().splitlines() if line.startswith(f"{series} ")]
    return float(line.rpartition(" ")[2])


def dropped(metrics: Metrics, reason: str) -> float:
    """Rows that were dropped and counted, by reason."""
    return value(metrics, f'prediction_log_dropped_rows_total{{reason="{reason}"}}')
