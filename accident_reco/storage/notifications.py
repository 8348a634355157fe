"""Notifications and their delivery: writes."""

from __future__ import annotations

from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError

from accident_reco.storage.clock import utc_now
from accident_reco.storage.tables.loop import notifications
from accident_reco.storage.warehouse import Warehouse


def create_notification(warehouse: Warehouse, kind: str, subject: str, text: str) -> bool:
    """Record a notification. Returns False for one of the same kind and subject as before."""
    row = {
        "id": _id(kind, subject),
        "kind": kind,
        "subject": subject[:128],
        "text": text,
        "delivered": "recorded",
        "created_at": utc_now(),
    }
    try:
        with warehouse.begin() as connection:
            connection.execute(insert(notifications), row)
        return True
    except IntegrityError:
        return False


def record_delivery(warehouse: Warehouse, kind: str, subject: str, delivered: str) -> None:
    """Record the delivery of a notification: `sent` or `failed`."""
    with warehouse.begin() as connection:
        connection.execute(
            update(notifications).where(notifications.c.id == _id(kind, subject)).values(delivered=delivered)
        )


def _id(kind: str, subject: str) -> str:
    return f"{kind}:{subject}"[:64]
