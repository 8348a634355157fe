"""HTML reports of drift checks in the object store: written after the verdict, later where the store is unavailable."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from accident_reco.drift.check import DriftReport
from accident_reco.drift.html_report import content_security_policy, render_html_report
from accident_reco.drift.window import Window
from accident_reco.lifecycle.reference import ReferenceProfile
from accident_reco.settings import Settings
from accident_reco.storage.drift_reports import delete_html_key, html_keys_beyond, save_html_key
from accident_reco.storage.objects import ObjectStore, StoreError, open_store
from accident_reco.storage.warehouse import Warehouse

MISSING: Final = (StoreError, OSError, ValueError)
"""Errors that leave a report without HTML: the store fails, the disk is full, the HTML is too large."""


def write_html_report(
    settings: Settings,
    objects: ObjectStore,
    warehouse: Warehouse,
    report: DriftReport,
    reference: ReferenceProfile,
    window: Window,
) -> dict[str, Any]:
    """Store the HTML of a recorded report, and those that wait. Returns `report_key` and `document` as recorded.

    While the store fails, reports wait in the home's `pending` folder, at most as many of a model as are kept.
    """
    pending = open_store((settings.home / "pending").as_uri())
    model = report.row["model"]
    folder = f"reports/drift/{model}"
    key = f"{folder}/{report.id}.html"
    try:
        page = render_html_report(report, reference, window, settings.drift_sample_rows)
    except ValueError as error:
        return save_html_key(warehouse, report.id, None, _reason(error))
    # Recorded with the verdict: a page that is altered in the store afterwards does not bring its own policy.
    policy = content_security_policy(page)
    try:
        objects.write(key, page)
    except MISSING as error:
        with suppress(*MISSING):
            if len(pending.list(folder)) < settings.drift_pages_kept:
                pending.write(key, page)
        return save_html_key(warehouse, report.id, None, _reason(error), policy)
    recorded = save_html_key(warehouse, report.id, key, policy=policy)
    # The report is complete: where the store fails now, the next check does the rest.
    with suppress(*MISSING):
        for waiting in pending.list(folder):
            objects.write(waiting, pending.read(waiting))
            save_html_key(warehouse, waiting.rsplit("/", 1)[-1].removesuffix(".html"), waiting)
            pending.delete(waiting)
        for report_id, old in html_keys_beyond(warehouse, model, settings.drift_pages_kept):
            objects.delete(old)
            delete_html_key(warehouse, report_id)
    return recorded


def _reason(error: Exception) -> str:
    return f"the HTML report could not be written: {error}"[:500]
