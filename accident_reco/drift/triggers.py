"""Triggers of trainings, from warehouse and store: drift, lower performance, new data, alerts.

Cheap enough for a sensor: reads a few rows and small documents. Decisions are in `lifecycle.retrain_requests`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from accident_reco.contract import Model, Platform
from accident_reco.lifecycle.retrain_policy import Source
from accident_reco.lifecycle.retrain_requests import Trigger
from accident_reco.lifecycle.store import ModelStore
from accident_reco.storage import alerts, drift_reports, retrain_decisions
from accident_reco.storage.objects import ObjectStore
from accident_reco.storage.warehouse import Warehouse

DRIFT_ALERTS = frozenset({"DatasetDrift"})
"""Alerts that are based on drift windows, to which hysteresis applies as to reports."""


def build_report_trigger(row: Mapping[str, Any], source: Source) -> Trigger | None:
    """The trigger of a report for `drift` or `performance`; None where it shows none, or is not on the log window."""
    if row["window_name"] != drift_reports.LOG_WINDOW:
        return None
    if source == "drift" and row["status"] == "drift":
        return Trigger(row["model"], "drift", row["id"], row["reason"], row["version"])
    live = row["document"].get("performance", {})
    if source == "performance" and live.get("dropped"):
        return Trigger(row["model"], "performance", row["id"], live["reason"])
    return None


def build_alert_trigger(objects: ObjectStore, warehouse: Warehouse, request: Mapping[str, Any]) -> Trigger:
    """The trigger of a queued request's alerts; hysteresis applies where all of them are based on drift windows."""
    names = {request["detail"].get("labels", {}).get("alertname"), *alerts.alert_names(warehouse, request["id"])}
    champion = ModelStore(objects).pointer(request["model"]) if names <= DRIFT_ALERTS else None
    version = champion.version if champion else None
    return Trigger(request["model"], "alert", request["id"], request["reason"], version, request["id"])


def find_new_data_trigger(model: Model, platform: Platform, now: datetime) -> Trigger | str:
    """The trigger of data that the champion was not trained on, or the reason why there is none.

    While the policy lets it wait, it is evaluated again each hour, under an id with that hour.
    """
    champion = platform.models.champion(model.name)
    if champion is None:
        return "no champion yet"
    found = model.serving().new_data(platform, champion[1])
    if isinstance(found, str):
        return found
    prefix = f"{hashlib.sha256(found.identity.encode()).hexdigest()[:16]}:{champion[1].version}"
    if retrain_decisions.is_handled(platform.warehouse, model.name, "data", prefix):
        return f"{found.evidence}: handled"
    return Trigger(model.name, "data", f"{prefix}:{now:%Y%m%dT%H}", found.evidence)
