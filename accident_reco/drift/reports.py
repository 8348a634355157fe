"""Selects the current report of a model: the newest on its live data, scheduled or requested."""

from __future__ import annotations

from typing import Any, Final

from accident_reco.storage.drift_reports import LOG_WINDOW, latest_report
from accident_reco.storage.warehouse import Warehouse

NOW_WINDOW: Final = "now"
"""Name of a log window that was checked on request through the API; it does not count for retraining."""

CUSTOM_WINDOW: Final = "custom"
"""Name of a log window that was checked with a threshold of the request; it is not the model's current report."""


def newest_report(warehouse: Warehouse, model: str) -> dict[str, Any] | None:
    """The newest report on live data; None before the first."""
    found = [latest_report(warehouse, model, window) for window in (LOG_WINDOW, NOW_WINDOW)]
    known = [row for row in found if row is not None]
    return max(known, key=lambda row: row["computed_at"]) if known else None
