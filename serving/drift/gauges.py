"""The latest drift reports as Prometheus gauges. Dagster computes the reports; this service polls their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from accident_reco.drift.reports import newest_report
from accident_reco.storage.warehouse import Warehouse
from serving.common import logs
from serving.common.background import PeriodicTask
from serving.common.metrics import Metrics
from serving.drift.process_gauges import ProcessGauges

POLL_SECONDS: Final = 2.0
STATUSES: Final = ("stable", "warning", "drift", "insufficient_data")
BOUNDS: Final = ("value", "low", "high", "at_training")
_NAN: Final = float("nan")


class Gauges:
    """Gauges per model. All workers set the same values; `/metrics` shows the most recent one."""

    def __init__(self, metrics: Metrics, warehouse: Warehouse, models: Iterable[str], home: Path) -> None:
        def gauge(name: str, text: str, *labels: str) -> Any:
            return metrics.gauge(name, text, ("model", *labels), across="livemostrecent")

        self._share = gauge("drift_share", "Share of drifted features among those with enough data, latest window")
        self._alarm = gauge("drift_alarm", "1 if the latest window has drifted")
        self._status = gauge("drift_status", "1 for the verdict on the latest window", "status")
        self._drifted = gauge("drift_drifted_features", "Features that drifted, latest window")
        self._judged = gauge("drift_judged_features", "Features with enough data, latest window")
        self._distance = gauge("drift_distance", "KS distance or total variation from the reference", "feature")
        self._prediction = gauge("drift_prediction_distance", "KS distance between the scores and those at training")
        self._rows = gauge("drift_window_rows", "Rows of the latest window")
        self._at = gauge("drift_report_timestamp_seconds", "Time of the latest verdict")
        self._live = gauge("live_performance", "Metric on reported labels", "metric", "bound")
        self._labels = gauge("live_performance_labels", "Reported labels of the latest window")
        self._dropped = gauge("live_performance_dropped", "1 if significantly worse than at training (95 % CI)")
        self._processes = ProcessGauges(metrics, home)
        self._warehouse = warehouse
        self._models = tuple(models)
        self._task = PeriodicTask("gauges", self._poll)
        self._shown: dict[str, str] = {}
        self.problem: str | None = None
        self._log = logs.get("gauges")

    def start(self) -> None:
        """Poll the reports from now on."""
        self._task.start()

    def stop(self) -> None:
        """Stop polling; waits at most 5 s for a read in progress."""
        self._task.stop(5)

    def refresh(self) -> None:
        """Set the gauges from the latest report of each model. Blocks; raises SQLAlchemyError."""
        for model in self._models:
            row = newest_report(self._warehouse, model)
            if row is not None and self._shown.get(model) != row["id"]:
                self._set_gauges(model, row)
                self._shown[model] = row["id"]

    def _poll(self) -> float:
        self._processes.refresh()
        try:
            self.refresh()
            self.problem = None
        except SQLAlchemyError as error:
            if self.problem is None:
                self._log.warning("reports cannot be read", error=type(error).__name__)
            self.problem = f"the warehouse cannot be read ({type(error).__name__})"
        return POLL_SECONDS

    def _set_gauges(self, model: str, row: Mapping[str, Any]) -> None:
        document = row["document"]
        self._share.labels(model).set(row["drifted_share"])
        self._alarm.labels(model).set(row["status"] == "drift")
        for status in STATUSES:
            self._status.labels(model, status).set(row["status"] == status)
        self._drifted.labels(model).set(row["drifted"])
        self._judged.labels(model).set(row["judged"])
        self._rows.labels(model).set(row["rows"])
        self._at.labels(model).set(row["computed_at"].timestamp())
        self._prediction.labels(model).set(_as_float(row["prediction_distance"]))
        for feature in document["features"]:
            self._distance.labels(model, feature["name"]).set(_as_float(feature["distance"]))
        live = document["performance"]
        self._labels.labels(model).set(live["labels"])
        self._dropped.labels(model).set(bool(live["dropped"]))
        for name, metric in live["metrics"].items():
            for bound in BOUNDS:
                self._live.labels(model, name, bound).set(_as_float(metric[bound]))


def _as_float(value: float | None) -> float:
    return _NAN if value is None else value
