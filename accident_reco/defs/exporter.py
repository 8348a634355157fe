"""Exports Dagster's state to Prometheus: `python -m accident_reco.defs.exporter`. Reads storage, loads no definitions.

Runs by job and status, latest materialization of every asset, daemons; and the platform's champions and open work
requests.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import dagster as dg
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from accident_reco.lifecycle.store import ModelStore
from accident_reco.log_lines import report_crashes, report_failure
from accident_reco.settings import Settings, SettingsError
from accident_reco.storage.objects import StoreError, open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import open_requests

RECENT_RUNS = 1000
"""Runs that a scrape reads, newest first."""


class InstanceCollector(Collector):
    """Reads the instance at each scrape; a part that cannot be read is left out and counted as an error."""

    def __init__(
        self, instance: dg.DagsterInstance, warehouse: Warehouse, models: ModelStore, names: Sequence[str]
    ) -> None:
        self.instance, self.warehouse, self.models, self.names = instance, warehouse, models, names
        self._errors: Counter[str] = Counter()
        # Finished runs so far by job and status: a counter must not fall when old runs are deleted.
        self._ended: Counter[tuple[str, str]] = Counter()
        self._counted: set[str] = set()

    def describe(self) -> list[Metric]:
        """Nothing, so that registration does not read the instance."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric family; called by prometheus_client."""
        parts = {
            "runs": self._runs,
            "assets": self._assets,
            "daemons": self._daemons,
            "champions": self._champions,
            "requests": self._requests,
        }
        for name, part in parts.items():
            try:
                yield from list(part())
            except (SQLAlchemyError, StoreError, dg.DagsterError, ValueError):
                self._errors[name] += 1
        errors = CounterMetricFamily("dagster_exporter_errors", "Parts that could not be read", labels=["part"])
        for name in parts:
            errors.add_metric([name], self._errors[name])
        yield errors

    def _runs(self) -> Iterator[Metric]:
        ended = CounterMetricFamily(
            "dagster_runs_ended", "Finished runs by job and status", labels=["job_name", "status"]
        )
        active = GaugeMetricFamily("dagster_runs_active", "Unfinished runs by status", labels=["status"])
        success = GaugeMetricFamily(
            "dagster_job_last_success_timestamp_seconds", "End of a job's latest successful run", labels=["job_name"]
        )
        duration = GaugeMetricFamily(
            "dagster_job_last_duration_seconds", "Duration of a job's latest run", labels=["job_name"]
        )
        statuses: Counter[str] = Counter()
        latest: dict[str, float] = {}
        succeeded: dict[str, float] = {}
        for record in self.instance.get_run_records(limit=RECENT_RUNS):
            run = record.dagster_run
            if not run.is_finished:
                statuses[run.status.value.lower()] += 1
                continue
            if run.run_id not in self._counted:
                self._counted.add(run.run_id)
                self._ended[run.job_name, run.status.value.lower()] += 1
            if record.end_time and record.start_time:
                latest.setdefault(run.job_name, record.end_time - record.start_time)
                if run.status == dg.DagsterRunStatus.SUCCESS:
                    succeeded.setdefault(run.job_name, record.end_time)
        for status in ("queued", "starting", "started", "canceling"):
            active.add_metric([status], statuses[status])
        for (job, status), count in self._ended.items():
            ended.add_metric([job, status], count)
        for job, at in succeeded.items():
            success.add_metric([job], at)
        for job, seconds in latest.items():
            duration.add_metric([job], seconds)
        yield from (ended, active, success, duration)

    def _assets(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "dagster_asset_last_materialization_timestamp_seconds",
            "Latest materialization of an asset",
            labels=["asset"],
        )
        keys = self.instance.all_asset_keys()
        for key, event in self.instance.get_latest_materialization_events(keys).items():
            if event is not None:
                family.add_metric([key.to_user_string()], event.timestamp)
        yield family

    def _daemons(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("dagster_daemon_healthy", "1 when a daemon's heartbeat is fresh", labels=["daemon"])
        for daemon, status in self.instance.get_daemon_statuses().items():
            family.add_metric([daemon.lower()], float(bool(status.healthy)))
        yield family

    def _champions(self) -> Iterator[Metric]:
        promoted = GaugeMetricFamily(
            "model_promoted_timestamp_seconds", "When the champion was promoted", labels=["model", "version"]
        )
        metrics = GaugeMetricFamily(
            "model_holdout_metric",
            "Metrics of the champion on the frozen holdout",
            labels=["model", "version", "metric"],
        )
        for model in self.names:
            champion = self.models.champion(model)
            if champion is None:
                continue
            pointer, manifest = champion
            promoted.add_metric([model, pointer.version], datetime.fromisoformat(pointer.promoted_at).timestamp())
            for name, value in manifest.metrics.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    metrics.add_metric([model, pointer.version, name], float(value))
        yield from (promoted, metrics)

    def _requests(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("work_requests_open", "Open work requests", labels=["kind", "model"])
        oldest = GaugeMetricFamily("work_requests_oldest_seconds", "Age of the oldest open work request")
        rows = open_requests(self.warehouse)
        for (kind, model), count in Counter((row["kind"], row["model"]) for row in rows).items():
            waiting.add_metric([kind, model], count)
        requested = [row["requested_at"] for row in rows]
        now = datetime.now(UTC)
        ages = [(now - (at if at.tzinfo else at.replace(tzinfo=UTC))).total_seconds() for at in requested]
        oldest.add_metric([], max(ages, default=0.0))
        yield from (waiting, oldest)


def build_app(registry: CollectorRegistry) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    """A WSGI application with `/metrics`, one scrape at a time, and `/livez`, which reads nothing."""
    metrics = make_wsgi_app(registry)
    scraping = threading.Lock()  # scrapes must not pile up on a slow database

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            with scraping:
                body: Iterable[bytes] = metrics(environ, start_response)
            return body
        found = environ["PATH_INFO"] == "/livez"
        start_response("200 OK" if found else "404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"ok\n" if found else b"not found\n"]

    return app


def build_server(settings: Settings, instance: dg.DagsterInstance) -> WSGIServer:
    """A server that is bound to the exporter's port and not running yet."""
    registry = CollectorRegistry()
    store = ModelStore(open_store(settings.store))
    registry.register(
        InstanceCollector(instance, Warehouse(settings.database, must_exist=True), store, settings.model_names)
    )
    address = (settings.host, settings.exporter_port)
    return make_server(*address, build_app(registry), ThreadingWSGIServer, handler_class=_SilentHandler)


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log no line per scrape."""


def main() -> int:
    """Serve until SIGTERM; returns the exit code."""
    argparse.ArgumentParser(prog="python -m accident_reco.defs.exporter", description=__doc__).parse_args()
    report_crashes("exporter")
    try:
        settings = Settings.load()
    except SettingsError as error:
        report_failure("exporter", str(error))
        return 2
    # Dagster's own variable: without it the instance is ephemeral and has no history.
    os.environ.setdefault("DAGSTER_HOME", str(settings.dagster_home))
    with dg.DagsterInstance.get() as instance:
        server = build_server(settings, instance)
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever()
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
