"""Dagster's figures for Prometheus: `python -m accident_reco.defs.exporter`. Reads storage, loads no code.

Runs and their ends by job, age of every asset's latest materialization, failed checks, daemons, and of the platform
the champions' ages and the open requests for work.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from accident_reco.lifecycle.store import ModelStore
from accident_reco.settings import Settings, SettingsError
from accident_reco.storage.objects import StoreError, open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import open_requests

RECENT_RUNS = 1000


class InstanceCollector(Collector):
    """Looks at the instance at each scrape; a part that cannot be read is left out and counted as an error."""

    def __init__(
        self, instance: dg.DagsterInstance, warehouse: Warehouse, models: ModelStore, names: Sequence[str]
    ) -> None:
        self.instance, self.warehouse, self.models, self.names = instance, warehouse, models, names
        self._errors: Counter[str] = Counter()
        # Finished runs seen so far by job and end: a counter must not fall when old runs are deleted.
        self._ended: Counter[tuple[str, str]] = Counter()
        self._seen: set[str] = set()

    def collect(self) -> Iterator[Metric]:
        """Every family; called by prometheus_client."""
        parts = {
            "runs": self._runs, "assets": self._assets, "daemons": self._daemons, "champions": self._champions,
            "requests": self._requests,
        }  # fmt: skip
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
        ended = CounterMetricFamily("dagster_runs_ended", "Runs by job and end", labels=["job_name", "status"])
        active = GaugeMetricFamily("dagster_runs_active", "Runs that wait or go on", labels=["status"])
        success = GaugeMetricFamily(
            "dagster_job_last_success_timestamp_seconds", "End of a job's latest good run", labels=["job_name"]
        )
        duration = GaugeMetricFamily(
            "dagster_job_last_duration_seconds", "Duration of a job's latest run", labels=["job_name"]
        )
        statuses: Counter[str] = Counter()
        latest: dict[str, float] = {}
        good: dict[str, float] = {}
        for record in self.instance.get_run_records(limit=RECENT_RUNS):
            run = record.dagster_run
            if run.status not in FINISHED_STATUSES:
                statuses[run.status.value.lower()] += 1
                continue
            if run.run_id not in self._seen:
                self._seen.add(run.run_id)
                self._ended[run.job_name, run.status.value.lower()] += 1
            if record.end_time and record.start_time:
                latest.setdefault(run.job_name, record.end_time - record.start_time)
                if run.status == dg.DagsterRunStatus.SUCCESS:
                    good.setdefault(run.job_name, record.end_time)
        for status in ("queued", "starting", "started", "canceling"):
            active.add_metric([status], statuses[status])
        for (job, status), count in self._ended.items():
            ended.add_metric([job, status], count)
        for job, at in good.items():
            success.add_metric([job], at)
        for job, seconds in latest.items():
            duration.add_metric([job], seconds)
        yield from (ended, active, success, duration)

    def _assets(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "dagster_asset_last_materialization_timestamp_seconds", "When an asset was last made", labels=["asset"]
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
            "model_promoted_timestamp_seconds", "When the champion began to serve", labels=["model", "version"]
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
        waiting = GaugeMetricFamily("work_requests_open", "Requests for work not closed yet", labels=["kind", "model"])
        oldest = GaugeMetricFamily("work_requests_oldest_seconds", "Age of the oldest open request")
        rows = open_requests(self.warehouse)
        for (kind, model), count in Counter((row["kind"], row["model"]) for row in rows).items():
            waiting.add_metric([kind, model], count)
        asked = [row["requested_at"] for row in rows]
        now = datetime.now(UTC)
        ages = [(now - (at if at.tzinfo else at.replace(tzinfo=UTC))).total_seconds() for at in asked]
        oldest.add_metric([], max(ages, default=0.0))
        yield from (waiting, oldest)


def serve(settings: Settings, instance: dg.DagsterInstance) -> ThreadingHTTPServer:
    """A server of `/metrics` and `/livez` that is bound and not running yet."""
    registry = CollectorRegistry()
    store = ModelStore(open_store(settings.store))
    registry.register(_Undescribed(instance, Warehouse(settings.database), store, settings.model_names))
    lock = threading.Lock()  # one look at a time: scrapes must not pile up on a slow database

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/livez":
                self._answer(b"ok\n", "text/plain")
            elif self.path == "/metrics":
                with lock:
                    body = generate_latest(registry)
                self._answer(body, "text/plain; version=0.0.4; charset=utf-8")
            else:
                self.send_error(404)

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Scrapes are not worth a line."""

    return ThreadingHTTPServer((settings.host, settings.exporter_port), Handler)


class _Undescribed(InstanceCollector):
    def describe(self) -> list[Metric]:
        """Nothing at registration: the first look is the first scrape's."""
        return []


def main() -> int:
    """Serve until a signal; the process's exit code."""
    argparse.ArgumentParser(prog="python -m accident_reco.defs.exporter", description=__doc__).parse_args()
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    # Dagster's own variable: without it there is no history to tell of.
    os.environ.setdefault("DAGSTER_HOME", str(settings.dagster_home))
    with dg.DagsterInstance.get() as instance:
        server = serve(settings, instance)
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever()
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
