"""Prometheus metrics of a service: standard names, route templates as labels only, right with several workers.

One `Metrics` per app with a registry of its own, so that importing makes nothing. With several worker processes the
runner sets PROMETHEUS_MULTIPROC_DIR before prometheus_client is loaded and `/metrics` adds up all workers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LATENCY_BUCKETS: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Metrics:
    """The metrics every service has; a service adds its own through `counter`, `gauge` and `histogram`."""

    def __init__(self) -> None:
        # Creation times would double the number of series and no dashboard of ours reads them.
        disable_created_metrics()
        self.registry = CollectorRegistry()
        self._requests = self.counter("http_requests", "Requests answered", ("method", "route", "status"))
        self._duration = self.histogram(
            "http_request_duration_seconds",
            "Time from the first byte of a request to the last of its answer",
            ("method", "route"),
        )
        self.in_progress = self.gauge("http_requests_in_progress", "Requests being answered now")
        self._requests_of: dict[tuple[str, str, int], Counter] = {}
        self._duration_of: dict[tuple[str, str], Histogram] = {}

    def counter(self, name: str, help_: str, labels: tuple[str, ...] = ()) -> Counter:
        """A counter; the exposition adds `_total` to its name."""
        return Counter(name, help_, labels, registry=self.registry)

    def gauge(self, name: str, help_: str, labels: tuple[str, ...] = (), across: str = "livesum") -> Gauge:
        """A gauge; `across` says how workers add up: livesum, livemax, livemin or livemostrecent."""
        return Gauge(name, help_, labels, registry=self.registry, multiprocess_mode=across)  # type: ignore[arg-type]

    def histogram(
        self, name: str, help_: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = LATENCY_BUCKETS
    ) -> Histogram:
        """A histogram, of seconds unless `buckets` say otherwise."""
        return Histogram(name, help_, labels, registry=self.registry, buckets=buckets)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request. `route` is a template, never a path from outside."""
        if method not in _METHODS:
            method = "OTHER"
        # Looking a child up by label values costs more than counting: remember the few there are.
        requests = self._requests_of.get((method, route, status))
        if requests is None:
            requests = self._requests_of[method, route, status] = self._requests.labels(method, route, str(status))
        duration = self._duration_of.get((method, route))
        if duration is None:
            duration = self._duration_of[method, route] = self._duration.labels(method, route)
        requests.inc()
        duration.observe(seconds)

    def exposition(self, workers_directory: Path | None = None) -> bytes:
        """The text that Prometheus scrapes; `workers_directory` is where several workers keep their values."""
        if workers_directory is None or values.ValueClass is values.MutexValue:
            return generate_latest(self.registry)
        _forget_the_dead(workers_directory)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone, path=str(workers_directory))
        return generate_latest(everyone)


def _forget_the_dead(directory: Path) -> None:
    """Drop the gauges of workers that are gone: what they counted stays, what they held does not."""
    for file in directory.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not Path("/proc", pid).exists():
            file.unlink(missing_ok=True)
