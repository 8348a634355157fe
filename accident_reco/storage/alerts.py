"""Alerts that requested a training: reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from accident_reco.storage.clock import read_row, utc_now
from accident_reco.storage.tables.loop import alerts
from accident_reco.storage.warehouse import Warehouse


def find_alert(warehouse: Warehouse, alert_id: str) -> dict[str, Any] | None:
    """An alert as it was received first; None where it was not."""
    with warehouse.connect() as connection:
        row = connection.execute(select(alerts).where(alerts.c.id == alert_id)).mappings().first()
    return read_row(row) if row else None


def save_alert(warehouse: Warehouse, row: Mapping[str, Any]) -> bool:
    """Store an alert. Returns False for one that is stored already."""
    try:
        with warehouse.begin() as connection:
            connection.execute(insert(alerts), {"received_at": utc_now(), **row})
        return True
    except IntegrityError:
        return False


def relink_alert(warehouse: Warehouse, alert_id: str, request_id: str) -> None:
    """Link an alert that still fires to another request than its first one, which was held back."""
    with warehouse.begin() as connection:
        connection.execute(update(alerts).where(alerts.c.id == alert_id).values(request_id=request_id))


def alert_names(warehouse: Warehouse, request_id: str) -> list[str]:
    """Names of the alerts that created or joined a request."""
    query = select(alerts.c.name).where(alerts.c.request_id == request_id).distinct()
    with warehouse.connect() as connection:
        return list(connection.execute(query).scalars())
