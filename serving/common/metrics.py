"""Prometheus metrics of a service: standard names, route templates as labels, aggregated over worker processes.

One `Metrics` per app with its own registry, so that importing has no side effects. With several workers the runner
sets PROMETHEUS_MULTIPROC_DIR before prometheus_client is imported, and `/metrics` aggregates all of them.
"""

from __future__ import annotations

from ipaddress import ip_address
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
from starlette.types import Scope

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
    """Metrics common to all services; a service adds its own with `counter`, `gauge` and `histogram`."""

    def __init__(self) -> None:
        # Creation times would double the number of series and no dashboard reads them.
        disable_created_metrics()
        self.registry = CollectorRegistry()
        self._counters: dict[tuple[str, str, tuple[str, ...]], Counter] = {}
        self._requests = self.counter("http_requests", "Requests served", ("method", "route", "status"))
        self._duration = self.histogram(
            "http_request_duration_seconds",
            "Time from the first byte of a request to the last of its response",
            ("method", "route"),
        )
        self.in_progress = self.gauge("http_requests_in_progress", "Requests being served now")
        self._request_children: dict[tuple[str, str, int], Counter] = {}
        self._duration_children: dict[tuple[str, str], Histogram] = {}

    def counter(self, name: str, help_: str, labels: tuple[str, ...] = ()) -> Counter:
        """A counter; the exposition adds `_total` to its name. The same declaration returns the same counter."""
        declared = (name, help_, labels)
        if declared not in self._counters:
            self._counters[declared] = Counter(name, help_, labels, registry=self.registry)
        return self._counters[declared]

    def gauge(self, name: str, help_: str, labels: tuple[str, ...] = (), across: str = "livesum") -> Gauge:
        """A gauge; `across` is its aggregation over workers: livesum, livemax, livemin or livemostrecent."""
        return Gauge(name, help_, labels, registry=self.registry, multiprocess_mode=across)  # type: ignore[arg-type]

    def histogram(
        self, name: str, help_: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = LATENCY_BUCKETS
    ) -> Histogram:
        """A histogram; by default its buckets are seconds."""
        return Histogram(name, help_, labels, registry=self.registry, buckets=buckets)

    def record_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record one served request. `route` is a template, never the path of a request."""
        if method not in _METHODS:
            method = "OTHER"
        # Looking a child up by label values costs more than counting: the few there are stay cached.
        requests = self._request_children.get((method, route, status))
        if requests is None:
            requests = self._request_children[method, route, status] = self._requests.labels(method, route, str(status))
        duration = self._duration_children.get((method, route))
        if duration is None:
            duration = self._duration_children[method, route] = self._duration.labels(method, route)
        requests.inc()
        duration.observe(seconds)

    def exposition(self, workers_directory: Path | None = None) -> bytes:
        """The text that Prometheus scrapes, aggregated over the workers with values in `workers_directory`."""
        if workers_directory is None or values.ValueClass is values.MutexValue:
            return generate_latest(self.registry)
        _remove_ended_workers(workers_directory)
        all_workers = CollectorRegistry()
        MultiProcessCollector(all_workers, path=str(workers_directory))
        return generate_latest(all_workers)


def is_from_loopback(scope: Scope) -> bool:
    """Whether a request comes from this machine, and not from a proxy on it that forwards another client's."""
    if any(name in (b"forwarded", b"x-forwarded-for", b"x-real-ip") for name, _ in scope["headers"]):
        return False
    try:
        return scope.get("client") is not None and ip_address(scope["client"][0]).is_loopback
    except ValueError:
        # Not an IP address, such as the host name of a test client.
        return False


def _remove_ended_workers(directory: Path) -> None:
    """Delete the gauges of workers that have ended; their counters stay."""
    for file in directory.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not Path("/proc", pid).exists():
            file.unlink(missing_ok=True)
