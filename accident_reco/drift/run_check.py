"""One drift check with everything around it: champion, windows, verdict in the warehouse, HTML in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from accident_reco.contract import Model, Platform
from accident_reco.drift.check import DriftReport, check, reference_of
from accident_reco.drift.log_window import log_windows
from accident_reco.drift.pages import write_page
from accident_reco.drift.reports import NOW_WINDOW
from accident_reco.drift.window import Window
from accident_reco.lifecycle.bundle import REFERENCE_FILE, Manifest
from accident_reco.lifecycle.reference import ReferenceProfile, build_reference, read_reference
from accident_reco.lifecycle.store import ModelStore
from accident_reco.storage.drift_reports import LOG_WINDOW, save_report
from accident_reco.storage.objects import ObjectNotFound, ObjectStore


class NothingToCompare(LookupError):
    """There is no champion, no reference profile or no such year; the message says which and what to do."""


@dataclass(frozen=True)
class Question:
    """What to judge: the log, or a stored partition, against the champion's reference or against another partition."""

    partition: int | None = None
    against: int | None = None
    requested_by_api: bool = False


def run_check(model: Model, platform: Platform, question: Question, run_id: str) -> DriftReport:
    """Judge the window, record the verdict, then render its HTML report; `row` of the result is what was recorded.

    Without the HTML report (the store went away meanwhile) the verdict stands: `page_problem` in its document has the
    reason, and the next check writes the report.

    Raises:
        NothingToCompare: there is nothing to judge or to judge it by.
        StoreError: the champion cannot be read; nothing was recorded.
    """
    settings, objects, warehouse = platform.settings, platform.objects, platform.warehouse
    manifest, files, reference = champion_of(objects, model.name)
    serving = model.serving()
    previous: Window | None = None
    if question.partition is not None:
        window = _partition(model, platform, manifest, reference, files, question.partition)
        if question.against is not None:
            reference = _profile_of(model, platform, manifest, reference, files, question.against)
            window = replace(window, note=f"against {question.against} instead of the champion's reference")
    else:
        both = serving.windows(platform, manifest, reference, files) or log_windows(
            platform, serving, manifest, reference
        )
        window, previous = both.current, both.previous
    report = check(model.task, manifest, reference, window, settings, previous=previous, run_id=run_id)
    if question.requested_by_api and window.name == LOG_WINDOW:
        report.row["window_name"] = NOW_WINDOW
    save_report(warehouse, report.row)
    report.row.update(write_page(settings, objects, warehouse, report, reference, window))
    return report


def champion_of(objects: ObjectStore, model: str) -> tuple[Manifest, dict[str, bytes], ReferenceProfile]:
    """Manifest, files and reference profile of what serves. Raises NothingToCompare."""
    models = ModelStore(objects)
    champion = models.champion(model)
    if champion is None:
        raise NothingToCompare(f"no {model} version was promoted yet: there is no reference to compare with")
    _, manifest = champion
    if REFERENCE_FILE not in manifest.files:
        raise NothingToCompare(f"{model} {manifest.version} has no reference profile; train a new version")
    files = models.files(manifest)
    return manifest, files, reference_of(files)


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
        raise NothingToCompare(f"{model.name} has no partitions; leave the partition out")
    return window


def _profile_of(
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
