"""The latest reports as Prometheus gauges, kept fresh by a thread: Dagster computes, this service only reads rows."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from accident_reco.drift.reports import newest_report
from accident_reco.storage.warehouse import Warehouse
from serving.common import logs
from serving.common.metrics import Metrics

POLL_SECONDS: Final = 2.0
STATUSES: Final = ("stable", "warning", "drift", "insufficient_data")
BOUNDS: Final = ("value", "low", "high", "at_training")
_NAN: Final = float("nan")


class Gauges:
    """Gauges per model. Every worker sets the same values, so the newest one counts."""

    def __init__(self, metrics: Metrics, warehouse: Warehouse, models: Iterable[str]) -> None:
        def gauge(name: str, text: str, *labels: str) -> Any:
            return metrics.gauge(name, text, ("model", *labels), across="livemostrecent")

        self._share = gauge("drift_share", "Drifted features over judged ones, latest window")
        self._alarm = gauge("drift_alarm", "1 when the latest window has drifted")
        self._status = gauge("drift_status", "1 for the verdict on the latest window", "status")
        self._drifted = gauge("drift_drifted_features", "Features that drifted, latest window")
        self._judged = gauge("drift_judged_features", "Features with enough data, latest window")
        self._distance = gauge("drift_distance", "KS distance or total variation from the reference", "feature")
        self._prediction = gauge("drift_prediction_distance", "KS distance of the scores from those at training")
        self._rows = gauge("drift_window_rows", "Rows of the latest window")
        self._at = gauge("drift_report_timestamp_seconds", "When the latest window was judged")
        self._live = gauge("live_performance", "Metric on labels that came in", "metric", "bound")
        self._labels = gauge("live_performance_labels", "Labels that came in for the latest window")
        self._dropped = gauge("live_performance_dropped", "1 when live performance is worse than at training for sure")
        self._warehouse = warehouse
        self._models = tuple(models)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._shown: dict[str, str] = {}
        self.problem: str | None = None
        self._log = logs.get("gauges")

    def start(self) -> None:
        """Begin to follow the reports."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._follow, name="gauges", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End what `start` began."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
            self._thread = None

    def refresh(self) -> None:
        """Read the latest report of each model and show it; reads block."""
        for model in self._models:
            row = newest_report(self._warehouse, model)
            if row is not None and self._shown.get(model) != row["id"]:
                self._show(model, row)
                self._shown[model] = row["id"]

    def _follow(self) -> None:
        while True:
            try:
                self.refresh()
                self.problem = None
            except SQLAlchemyError as error:
                if self.problem is None:
                    self._log.warning("reports cannot be read", error=type(error).__name__)
                self.problem = f"the warehouse cannot be read ({type(error).__name__})"
            if self._stop.wait(POLL_SECONDS):
                return

    def _show(self, model: str, row: Mapping[str, Any]) -> None:
        document = row["document"]
        self._share.labels(model).set(row["drifted_share"])
        self._alarm.labels(model).set(row["status"] == "drift")
        for status in STATUSES:
            self._status.labels(model, status).set(row["status"] == status)
        self._drifted.labels(model).set(row["drifted"])
        self._judged.labels(model).set(row["judged"])
        self._rows.labels(model).set(row["rows"])
        self._at.labels(model).set(row["computed_at"].timestamp())
        self._prediction.labels(model).set(_number(row["prediction_distance"]))
        for feature in document["features"]:
            self._distance.labels(model, feature["name"]).set(_number(feature["distance"]))
        live = document["performance"]
        self._labels.labels(model).set(live["labels"])
        self._dropped.labels(model).set(bool(live["dropped"]))
        for name, metric in live["metrics"].items():
            for bound in BOUNDS:
                self._live.labels(model, name, bound).set(_number(metric[bound]))


def _number(value: float | None) -> float:
    return _NAN if value is None else value
