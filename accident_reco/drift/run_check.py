"""One drift check with everything around it: champion, windows, verdict in the warehouse, HTML in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from accident_reco.contract import Model, Platform
from accident_reco.drift.check import DriftReport, check, load_reference
from accident_reco.drift.html_report_store import write_html_report
from accident_reco.drift.log_window import log_windows
from accident_reco.drift.reports import CUSTOM_WINDOW, NOW_WINDOW
from accident_reco.drift.window import Window
from accident_reco.lifecycle.bundle import REFERENCE_FILE, Manifest
from accident_reco.lifecycle.reference import ReferenceProfile, build_reference, read_reference
from accident_reco.lifecycle.store import ModelStore
from accident_reco.storage.drift_reports import LOG_WINDOW, save_report
from accident_reco.storage.objects import ObjectNotFound, ObjectStore


class NothingToCompare(LookupError):
    """There is no champion, no reference profile or no such partition; the message has the fix."""


@dataclass(frozen=True)
class CheckRequest:
    """The window to check: live data, or a stored partition, against the champion's reference or another partition.

    Args:
        share: share of drifted features at which the window has drifted, instead of the setting.
    """

    partition: int | None = None
    against: int | None = None
    requested_by_api: bool = False
    share: float | None = None


def run_check(model: Model, platform: Platform, request: CheckRequest, run_id: str) -> DriftReport:
    """Check a window, record the verdict, then write its HTML report. Returns the report with the recorded `row`.

    Where the HTML report fails, the verdict stands: `page_problem` in its document has the reason, and the next check
    writes the report.

    Raises:
        NothingToCompare: window or reference do not exist.
        StoreError: the champion cannot be read; nothing was recorded.
    """
    settings, objects, warehouse = platform.settings, platform.objects, platform.warehouse
    if request.share is not None:
        settings = settings.model_copy(update={"drift_share": request.share})
    manifest, files, reference = load_champion(objects, model.name)
    serving = model.serving()
    previous: Window | None = None
    if request.partition is not None:
        window = _partition(model, platform, manifest, reference, files, request.partition)
        if request.against is not None:
            reference = _build_profile(model, platform, manifest, reference, files, request.against)
            window = replace(window, note=f"against {request.against} instead of the champion's reference")
    else:
        windows = serving.windows(platform, manifest, reference, files) or log_windows(
            platform, serving, manifest, reference
        )
        window, previous = windows.current, windows.previous
    importances = serving.importances(files)
    report = check(
        model.task, manifest, reference, window, settings, previous=previous, importances=importances, run_id=run_id
    )
    if request.requested_by_api and window.name == LOG_WINDOW:
        report.row["window_name"] = NOW_WINDOW if request.share is None else CUSTOM_WINDOW
    save_report(warehouse, report.row)
    report.row.update(write_html_report(settings, objects, warehouse, report, reference, window))
    return report


def load_champion(objects: ObjectStore, model: str) -> tuple[Manifest, dict[str, bytes], ReferenceProfile]:
    """Manifest, files and reference profile of the champion. Raises NothingToCompare."""
    models = ModelStore(objects)
    champion = models.champion(model)
    if champion is None:
        raise NothingToCompare(f"{model} has no champion yet, and therefore no reference to compare with")
    _, manifest = champion
    if REFERENCE_FILE not in manifest.files:
        raise NothingToCompare(f"{model} {manifest.version} has no reference profile; train a new version")
    files = models.files(manifest)
    return manifest, files, load_reference(files)


def _partition(
    model: Model,
    platform: Platform,
    manifest: Manifest,
    reference: ReferenceProfile,
    files: Mapping[str, bytes],
    key: int,
) -> Window:
    try:
        window = model.serving().partition_window(platform, manifest, reference, files, key)
    except ObjectNotFound:
        raise NothingToCompare(f"{key} is not in the store; materialize it first") from None
    if window is None:
        raise NothingToCompare(f"{model.name} has no partitions; omit the partition")
    return window


def _build_profile(
    model: Model,
    platform: Platform,
    manifest: Manifest,
    reference: ReferenceProfile,
    files: Mapping[str, bytes],
    key: int,
) -> ReferenceProfile:
    """Reference profile of a stored partition."""
    window = _partition(model, platform, manifest, reference, files, key)
    kinds: dict[str, Any] = {name: reference.columns[name].kind for name in window.columns}
    source = f"{key} of {manifest.data_source}"
    return read_reference(
        build_reference(
            window.columns, kinds, window.groups, window.score, window.label, model=manifest.model, data_source=source
        )
    )
