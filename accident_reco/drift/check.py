"""One drift check from end to end: reference of the champion, window, verdict, live performance, as one document.

Every verdict is computed here: for the asset, the schedule and the service's `?compute=true`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

import numpy as np

from accident_reco.contract import Task
from accident_reco.drift.distributions import describe_distribution
from accident_reco.drift.performance import LivePerformance, live_performance
from accident_reco.drift.verdict import FeatureVerdict, Thresholds, Verdict, evaluate_drift
from accident_reco.drift.window import Window
from accident_reco.lifecycle.bundle import REFERENCE_FILE, Manifest
from accident_reco.lifecycle.reference import Column, ReferenceProfile, build_reference, read_reference
from accident_reco.settings import Settings
from accident_reco.storage.clock import utc_now


@dataclass(frozen=True)
class DriftReport:
    """A finished check. `row` is that of the warehouse; `verdict` is rendered as the HTML report."""

    id: str
    verdict: Verdict
    previous: Verdict | None
    performance: LivePerformance
    row: dict[str, Any]


def check(
    task: Task,
    manifest: Manifest,
    reference: ReferenceProfile,
    window: Window,
    settings: Settings,
    *,
    previous: Window | None = None,
    importances: Mapping[str, float] | None = None,
    run_id: str,
) -> DriftReport:
    """Compare a window with the champion's reference and, where there is one, with the window before it.

    The verdict is the one against the reference (baseline). The comparison with the previous window
    (consecutive) only shows whether a change is sudden.
    """
    thresholds = Thresholds.from_settings(settings)
    verdict = evaluate_drift(
        reference, window.columns, window.groups, window.score, window.label, thresholds, importances
    )
    consecutive = None if previous is None else _against_previous(reference, previous, window, thresholds, importances)
    performance = live_performance(task, window.labelled, manifest.metrics, settings.retrain_performance_drop)
    report_id = uuid4().hex
    row = {
        "id": report_id,
        "model": manifest.model,
        "version": manifest.version,
        "data_source": manifest.data_source,
        "window_name": window.name,
        "since": window.since,
        "until": window.until,
        "status": verdict.status,
        "reason": verdict.reason,
        "rows": verdict.rows,
        "groups": verdict.groups,
        "judged": verdict.evaluated,
        "drifted": len(verdict.drifted),
        "drifted_share": verdict.drifted_share,
        "prediction_distance": None if verdict.prediction is None else _plain(verdict.prediction.comparison.distance),
        "document": {
            "features": [
                _drawable(feature, reference.columns[feature.comparison.name], window.columns[feature.comparison.name])
                for feature in verdict.features
            ],
            "prediction": _drawable(verdict.prediction, reference.score, window.score),
            "label": _drawable(verdict.label, reference.label, window.label),
            "drifted_importance": verdict.drifted_importance,
            "thresholds": asdict(thresholds),
            "previous_window": None if consecutive is None else _brief(consecutive),
            "performance": performance.document(),
            "note": window.note,
            "page_problem": "the HTML report is not written yet",
        },
        "report_key": None,
        "run_id": run_id,
        "computed_at": utc_now(),
    }
    return DriftReport(report_id, verdict, consecutive, performance, row)


def load_reference(files: Mapping[str, bytes]) -> ReferenceProfile:
    """The profile in a bundle's files. Raises ProfileError, or KeyError for a bundle without one."""
    return read_reference(files[REFERENCE_FILE])


def feature_document(feature: FeatureVerdict) -> dict[str, Any]:
    """JSON of a feature: the comparison and its verdict; numbers that are not finite are null."""
    comparison = asdict(feature.comparison)
    return {name: _plain(value) for name, value in comparison.items()} | {
        "p_adjusted": _plain(feature.p_adjusted),
        "drifted": feature.drifted,
        "missing_drifted": feature.missing_drifted,
        "importance": feature.importance,
        "reason": feature.reason,
    }


def _drawable(
    feature: FeatureVerdict | None, reference: Column | None, values: np.ndarray | None
) -> dict[str, Any] | None:
    """JSON of a feature with the distributions of reference and window."""
    if feature is None or reference is None or values is None:
        return None
    return feature_document(feature) | {"distribution": describe_distribution(reference, np.asarray(values))}


def _against_previous(
    reference: ReferenceProfile,
    previous: Window,
    window: Window,
    thresholds: Thresholds,
    importances: Mapping[str, float] | None,
) -> Verdict | None:
    if previous.rows < thresholds.min_rows:
        return None
    shared = {name: column.kind for name, column in reference.columns.items() if name in previous.columns}
    if not shared:
        return None
    profile = read_reference(build_reference(previous.columns, shared, previous.groups, previous.score))
    return evaluate_drift(profile, window.columns, window.groups, window.score, None, thresholds, importances)


def _brief(verdict: Verdict) -> dict[str, Any]:
    return {
        "status": verdict.status,
        "reason": verdict.reason,
        "rows": verdict.rows,
        "drifted": list(verdict.drifted),
        "drifted_share": verdict.drifted_share,
        "drifted_importance": verdict.drifted_importance,
    }


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
