"""Notifications, sent once: recorded in the warehouse, and posted to a webhook where one is configured."""

from __future__ import annotations

import httpx

from accident_reco.settings import Settings
from accident_reco.storage.notifications import create_notification, record_delivery
from accident_reco.storage.warehouse import Warehouse

TIMEOUT_S = 5.0


def notify(settings: Settings, warehouse: Warehouse, kind: str, subject: str, text: str) -> str:
    """Record and send a notification. Returns `sent`, `failed`, `recorded` (no webhook) or `known` (a repetition)."""
    if not create_notification(warehouse, kind, subject, text):
        return "known"
    if not settings.notify_url:
        return "recorded"
    try:
        response = httpx.post(
            settings.notify_url, json={"kind": kind, "subject": subject, "text": text}, timeout=TIMEOUT_S
        )
        delivered = "sent" if response.is_success else "failed"
    except httpx.HTTPError:
        delivered = "failed"
    record_delivery(warehouse, kind, subject, delivered)
    return delivered
