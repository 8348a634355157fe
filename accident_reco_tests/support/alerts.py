"""Alertmanager's webhook, as the drift service receives it."""

from __future__ import annotations

from typing import Any

import httpx

from accident_reco.drift.alert_secret import load_alert_secret
from accident_reco.settings import Settings


def build_alert(
    number: int = 0, status: str = "firing", model: str | None = "accidents", start: str = "t0"
) -> dict[str, Any]:
    """An alert as Alertmanager sends it."""
    labels = {"alertname": "ModelDrift", "number": str(number)} | ({"model": model} if model else {})
    return {
        "status": status,
        "labels": labels,
        "annotations": {"summary": "share 0.8"},
        "startsAt": start,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://x",
        "fingerprint": f"f{number}",
    }


def send_alerts(
    client: httpx.Client, settings: Settings, *alerts: dict[str, Any], secret: str | None = None
) -> httpx.Response:
    """Alertmanager's webhook to the drift service, with its secret."""
    payload = {
        "version": "4",
        "groupKey": "g",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "drift-service",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://am",
        "alerts": list(alerts),
    }
    bearer = load_alert_secret(settings) if secret is None else secret
    return client.post("/alerts", json=payload, headers={"Authorization": f"Bearer {bearer}"})
