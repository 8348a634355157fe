"""What may ask for a training, found in warehouse and store: drift or lost performance, new data, requests.

Cheap: a sensor's tick reads some rows and small documents. Decisions are `lifecycle.retraining`'s.
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
"""Alerts whose evidence are the drift windows themselves: one red window is as little in an alert as in a report."""


def trigger_of_report(row: Mapping[str, Any], source: Source) -> Trigger | None:
    """The trigger that a report is for `drift` or `performance`; None when it shows neither, or is no log window."""
    if row["window_name"] != drift_reports.LOG_WINDOW:
        return None
    if source == "drift" and row["status"] == "drift":
        return Trigger(row["model"], "drift", row["id"], row["reason"], row["version"])
    live = row["document"].get("performance", {})
    if source == "performance" and live.get("dropped"):
        return Trigger(row["model"], "performance", row["id"], live["reason"])
    return None


def trigger_of_alerts(objects: ObjectStore, warehouse: Warehouse, request: Mapping[str, Any]) -> Trigger:
    """The trigger that alerts are which made or joined a queued request; one of other evidence than drift is enough."""
    names = {request["detail"].get("labels", {}).get("alertname"), *alerts.alert_names(warehouse, request["id"])}
    champion = ModelStore(objects).pointer(request["model"]) if names <= DRIFT_ALERTS else None
    version = champion.version if champion else None
    return Trigger(request["model"], "alert", request["id"], request["reason"], version, request["id"])


def trigger_of_new_data(model: Model, platform: Platform, now: datetime) -> Trigger | str:
    """New data that the champion has not seen, or in words why there is none.

    While the policy holds such a trigger back it is evaluated again each hour, under an id of that hour.
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
