"""Which report speaks for a model: the newest one on its log, by schedule or asked for."""

from __future__ import annotations

from typing import Any, Final

from accident_reco.storage.drift_reports import LOG_WINDOW, latest_report
from accident_reco.storage.warehouse import Warehouse

NOW_WINDOW: Final = "now"
"""Log window judged because somebody asked through the API: reported like any other, but no witness for retraining."""


def newest_report(warehouse: Warehouse, model: str) -> dict[str, Any] | None:
    """The newest report on what came in lately, or None before the first."""
    found = [latest_report(warehouse, model, window) for window in (LOG_WINDOW, NOW_WINDOW)]
    known = [row for row in found if row is not None]
    return max(known, key=lambda row: row["computed_at"]) if known else None
