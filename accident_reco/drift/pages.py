"""HTML reports of drift checks in the object store: written after the verdict, and later where the store was away."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from accident_reco.drift.check import DriftReport
from accident_reco.drift.html_report import draw_page
from accident_reco.drift.window import Window
from accident_reco.lifecycle.reference import ReferenceProfile
from accident_reco.settings import Settings
from accident_reco.storage.drift_reports import delete_html_key, html_keys_beyond, save_html_key
from accident_reco.storage.objects import ObjectStore, StoreError, open_store
from accident_reco.storage.warehouse import Warehouse

MISSING: Final = (StoreError, OSError, ValueError)
"""What leaves a report without its HTML: the store refuses or is away, the disk is full, the HTML is too large."""


def write_page(
    settings: Settings,
    objects: ObjectStore,
    warehouse: Warehouse,
    report: DriftReport,
    reference: ReferenceProfile,
    window: Window,
) -> dict[str, Any]:
    """Render a recorded report, and write those that earlier checks could not; `report_key` and `document` as recorded.

    A report that the store does not take waits in the home's `pending` folder, as many of a model as are kept at all.
    """
    pending = open_store((settings.home / "pending").as_uri())
    model = report.row["model"]
    folder = f"reports/drift/{model}"
    key = f"{folder}/{report.id}.html"
    try:
        page = draw_page(report, reference, window, settings.drift_sample_rows)
    except ValueError as error:
        return save_html_key(warehouse, report.id, None, _reason(error))
    try:
        objects.write(key, page)
    except MISSING as error:
        with suppress(*MISSING):
            if len(pending.list(folder)) < settings.drift_pages_kept:
                pending.write(key, page)
        return save_html_key(warehouse, report.id, None, _reason(error))
    recorded = save_html_key(warehouse, report.id, key)
    # The verdict and its report are complete: what follows is tidied up by the next check where the store fails now.
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
