"""Prometheus metrics of a service: standard names, route templates as labels, aggregated over worker processes.

One `Metrics` per app with its own registry, so that importing has no side effects. With several workers the runner
sets PROMETHEUS_MULTIPROC_DIR before prometheus_client is imported, and `/metrics` aggregates all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeVar

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

M = TypeVar("M", Counter, Gauge, Histogram)
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
        self._find_requests = remember_labels(self._requests)
        self._find_duration = remember_labels(self._duration)

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
        self._find_requests(method, route, status).inc()
        self._find_duration(method, route).observe(seconds)

    def exposition(self, workers_directory: Path | None = None) -> bytes:
        """The text that Prometheus scrapes, aggregated over the workers with values in `workers_directory`."""
        if workers_directory is None or values.ValueClass is values.MutexValue:
            return generate_latest(self.registry)
        _remove_ended_workers(workers_directory)
        all_workers = CollectorRegistry()
        MultiProcessCollector(all_workers, path=str(workers_directory))
        return generate_latest(all_workers)


def remember_labels(metric: M) -> Callable[..., M]:
    """`metric.labels`, remembering its results: looking one up by its values costs more than counting.

    For labels with few values, such as route templates and versions; never values that clients choose.
    """
    return cache(metric.labels)


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
