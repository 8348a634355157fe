"""One drift check with everything around it: champion, windows, verdict, page in the store, row in the warehouse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from accident_reco.drift.check import REFERENCE_FILE, DriftReport, check, reference_of
from accident_reco.drift.html_report import draw_page
from accident_reco.drift.reports import NOW_WINDOW
from accident_reco.drift.window import Window
from accident_reco.drift.windows import log_windows, year_window
from accident_reco.lifecycle.bundle import Manifest
from accident_reco.lifecycle.reference import ReferenceProfile, build_reference, read_reference
from accident_reco.lifecycle.store import ModelStore
from accident_reco.settings import Settings
from accident_reco.storage.loop import LOG_WINDOW, forget_old_pages, save_report
from accident_reco.storage.objects import ObjectNotFound, ObjectStore
from accident_reco.storage.warehouse import Warehouse


class NothingToCompare(LookupError):
    """There is no champion, no reference profile or no such year; the message says which and what to do."""


@dataclass(frozen=True)
class Question:
    """What to judge: the log, or a materialized year, against the champion's reference or against another year."""

    model: str
    partition: int | None = None
    against: int | None = None
    asked_through_api: bool = False


def run_check(
    settings: Settings, objects: ObjectStore, warehouse: Warehouse, question: Question, run_id: str
) -> DriftReport:
    """Judge, draw, keep; the report's `row` is what was kept.

    Raises:
        NothingToCompare: there is nothing to judge or to judge it by.
    """
    manifest, files, reference = champion_of(objects, question.model)
    previous: Window | None = None
    if question.partition is not None:
        if question.model != "accidents":
            raise NothingToCompare(f"{question.model} has no yearly partitions; leave the partition out")
        window = _year(objects, manifest, reference, files, question.partition)
        if question.against is not None:
            reference = _profile_of_year(objects, manifest, reference, files, question.against)
            window = replace(window, note=f"against {question.against} instead of the champion's reference")
    else:
        both = log_windows(settings, warehouse, manifest, reference, files)
        window, previous = both.current, both.previous
    report = check(manifest, reference, window, settings, previous=previous, run_id=run_id)
    if question.asked_through_api and window.name == LOG_WINDOW:
        report.row["window_name"] = NOW_WINDOW
    key = f"reports/drift/{question.model}/{report.id}.html"
    objects.write(key, draw_page(report, reference, window, settings.drift_sample_rows))
    report.row["report_key"] = key
    save_report(warehouse, report.row)
    for old in forget_old_pages(warehouse, question.model, settings.drift_pages_kept):
        objects.delete(old)
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


def _year(
    objects: ObjectStore, manifest: Manifest, reference: ReferenceProfile, files: Mapping[str, bytes], year: int
) -> Window:
    try:
        return year_window(objects, manifest, reference, files, year)
    except ObjectNotFound:
        raise NothingToCompare(f"{year} is not in the store; materialize accidents/victims for {year} first") from None


def _profile_of_year(
    objects: ObjectStore, manifest: Manifest, reference: ReferenceProfile, files: Mapping[str, bytes], year: int
) -> ReferenceProfile:
    window = _year(objects, manifest, reference, files, year)
    kinds: dict[str, Any] = {name: reference.columns[name].kind for name in window.columns}
    return read_reference(
        build_reference(
            window.columns,
            kinds,
            window.groups,
            window.score,
            window.label,
            model=manifest.model,
            data_source=f"{year} of {manifest.data_source}",
        )
    )
