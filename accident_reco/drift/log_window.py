"""Windows of the prediction log for a drift check: the newest rows of the last hours, and as many before them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from accident_reco.contract import ModelServing, Platform
from accident_reco.drift.window import Windows, build_log_window
from accident_reco.lifecycle.bundle import Manifest
from accident_reco.lifecycle.reference import ReferenceProfile
from accident_reco.storage.clock import utc_now
from accident_reco.storage.prediction_log import labelled_predictions, prediction_window


def window_start(platform: Platform) -> datetime:
    """Start (UTC) of the data of a drift check."""
    return utc_now() - timedelta(hours=platform.settings.drift_window_hours)


def log_windows(platform: Platform, serving: ModelServing, manifest: Manifest, reference: ReferenceProfile) -> Windows:
    """Windows of a model's logged predictions; live performance is that of its champion alone."""
    since, size = window_start(platform), platform.settings.drift_window_rows
    rows = prediction_window(platform.warehouse, manifest.model, since=since, limit=2 * size)
    labelled = labelled_predictions(platform.warehouse, manifest.model, since=since, limit=10 * size)
    of_champion = [row for row in labelled if row["version"] == manifest.version]
    rows, of_champion = ([_readable(row, serving) for row in part] for part in (rows, of_champion))
    current = [_scored_by(row, manifest.version) for row in rows[:size]]
    before = rows[size:]
    return Windows(
        build_log_window(current, reference, of_champion, serving.log_group),
        build_log_window(before, reference, group_of=serving.log_group) if before else None,
    )


def _readable(row: dict[str, Any], serving: ModelServing) -> dict[str, Any]:
    inputs = row["inputs"]
    return row | {"inputs": serving.log_row(inputs)} if isinstance(inputs, Mapping) else row


def _scored_by(row: dict[str, Any], version: str) -> dict[str, Any]:
    """Without the score where another version computed it."""
    return row if row["version"] == version else row | {"score": None}
