"""What may ask for a training, found in warehouse and store: drift or lost performance, new data, requests.

Cheap: a sensor's tick reads some rows and small documents. Decisions are `lifecycle.retraining`'s.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from accident_reco.lifecycle.bundle import Manifest
from accident_reco.lifecycle.retrain_policy import Source
from accident_reco.lifecycle.retrain_requests import Trigger
from accident_reco.lifecycle.store import ModelStore
from accident_reco.settings import Settings
from accident_reco.storage import loop as loop
from accident_reco.storage.objects import ObjectNotFound, ObjectStore
from accident_reco.storage.warehouse import Warehouse

DRIFT_ALERTS = frozenset({"DatasetDrift"})
"""Alerts whose evidence are the drift windows themselves: one red window is as little in an alert as in a report."""
COMPARABLE_SINCE = 2019
"""Years that models are trained on: `grav` and the files changed before it, and older years teach nothing new."""


def trigger_of_report(row: Mapping[str, Any], source: Source) -> Trigger | None:
    """The trigger that a report is for `drift` or `performance`; None when it shows neither, or is no log window."""
    if row["window_name"] != loop.LOG_WINDOW:
        return None
    if source == "drift" and row["status"] == "drift":
        return Trigger(row["model"], "drift", row["id"], row["reason"], row["version"])
    live = row["document"].get("performance", {})
    if source == "performance" and live.get("dropped"):
        return Trigger(row["model"], "performance", row["id"], live["reason"])
    return None


def trigger_of_alerts(objects: ObjectStore, warehouse: Warehouse, request: Mapping[str, Any]) -> Trigger:
    """The trigger that alerts are which made or joined a queued request; one of other evidence than drift is enough."""
    names = {request["detail"].get("labels", {}).get("alertname"), *loop.alerts_of(warehouse, request["id"])}
    champion = ModelStore(objects).pointer(request["model"]) if names <= DRIFT_ALERTS else None
    version = champion.version if champion else None
    return Trigger(request["model"], "alert", request["id"], request["reason"], version, request["id"])


def trigger_of_new_data(
    settings: Settings, objects: ObjectStore, warehouse: Warehouse, model: str, now: datetime
) -> Trigger | str:
    """New data that the champion has not seen, or in words why there is none.

    While the policy holds such a trigger back it is asked again each hour, under an id of that hour.
    """
    models = ModelStore(objects)
    champion = models.champion(model)
    if champion is None:
        return "no champion yet"
    found = (
        _new_ratings(settings, warehouse, champion[1])
        if model == "movies"
        else _new_years(settings, objects, champion[1].lineage, champion[1].data_source)
    )
    if isinstance(found, str):
        return found
    identity, evidence = found
    prefix = f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}:{champion[1].version}"
    if loop.acted_on(warehouse, model, "data", prefix):
        return f"{evidence}: dealt with"
    return Trigger(model, "data", f"{prefix}:{now:%Y%m%dT%H}", evidence)


def _new_ratings(settings: Settings, warehouse: Warehouse, champion: Manifest) -> tuple[str, str] | str:
    from accident_reco.models.movies.data.queries import count_received

    fresh = count_received(warehouse, int(champion.lineage.get("ratings_received_until", 0)))
    shown = f"{fresh} ratings that the champion has not learnt"
    if fresh < settings.retrain_new_rows:
        return f"{shown}, {settings.retrain_new_rows} are needed"
    return f"{champion.created_at}:{fresh // settings.retrain_new_rows}", shown


def _new_years(
    settings: Settings, objects: ObjectStore, lineage: Mapping[str, Any], data_source: str
) -> tuple[str, str] | str:
    """Years with published files that are not among the sources that the champion names."""
    known = {str(source.get("sha256")) for source in lineage.get("sources", [])}
    fresh: dict[str, list[str]] = {}
    for key in objects.list("assets/accidents/victims/"):
        year = key.rsplit("/", 1)[-1].removesuffix(".json")
        if not key.endswith(".json") or int(year) < COMPARABLE_SINCE:
            continue
        try:
            summary = json.loads(objects.read(key))
        except ObjectNotFound:  # removed between the listing and the reading
            continue
        hashes = {str(file["sha256"]) for file in summary["files"].values()}
        if summary["data_source"] == data_source and not hashes <= known:
            fresh[year] = sorted(hashes)
    if not fresh:
        return "every ingested year is among the champion's sources"
    shown = f"files that the champion has not seen: {', '.join(sorted(fresh))}"
    if len(fresh) < settings.retrain_new_years:
        return f"{shown}; {settings.retrain_new_years} years are needed"
    return json.dumps(fresh, sort_keys=True), shown
