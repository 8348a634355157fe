"""A day of the services' own metrics in memory, for an installation without Prometheus.

Each worker of the console has its own: it is lost when the process ends, and needs no coordination.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from serving.common.background import PeriodicTask
from serving.console.figures import POINTS, Lines, Reading, find_quantile

INTERVAL_SECONDS: Final = 60.0
MAX_SAMPLES: Final = 24 * 60
FETCH_SECONDS: Final = 5.0
_PROBES: Final = frozenset({"/metrics", "/readyz", "/livez"})
# A service that was away longer than this leaves a gap.
_MAX_GAP: Final = 3.0
Key = tuple[str, str]
"""Figure and line."""


@dataclass(frozen=True)
class Sample:
    """The services' metrics at one time.

    Args:
        at: seconds since 1970.
        counters: values that only grow, or start again at 0.
        gauges: values as they are.
        buckets: service → upper bound → cumulative count of answers.
    """

    at: float
    counters: Mapping[Key, float] = field(default_factory=dict)
    gauges: Mapping[Key, float] = field(default_factory=dict)
    buckets: Mapping[str, Mapping[float, float]] = field(default_factory=dict)


class MetricHistory:
    """Samples the services from `start` on, and reads figures from the samples.

    Args:
        urls: service → base URL.
        clock: current time, in seconds since 1970.
    """

    def __init__(
        self, urls: Mapping[str, str], interval: float = INTERVAL_SECONDS, clock: Callable[[], float] = time.time
    ) -> None:
        self.samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._urls = urls
        self._interval = interval
        self._clock = clock
        self._task = PeriodicTask("metric history", self._sample)

    def start(self) -> None:
        """Sample from now on."""
        self._task.start()

    def stop(self) -> None:
        """Stop sampling."""
        self._task.stop(FETCH_SECONDS)

    async def read(self, hours: float) -> Reading:
        """The figures of the last hours."""
        source = "the services' own metrics, which this process keeps for a day"
        samples = list(self.samples)
        if len(samples) < 2:
            return Reading({}, source, "The console has begun to collect; the first figures come within two minutes.")
        return Reading(build_lines(samples, self._clock(), hours * 3600, self._interval), source)

    def _sample(self) -> float:
        texts = {}
        with httpx.Client(timeout=FETCH_SECONDS) as client:
            for service, url in self._urls.items():
                try:
                    answer = client.get(f"{url}/metrics").raise_for_status()
                except httpx.HTTPError:
                    continue  # a gap in its lines
                texts[service] = answer.text
        self.samples.append(read_sample(self._clock(), texts))
        return self._interval


def read_sample(at: float, texts: Mapping[str, str]) -> Sample:
    """A sample from the services' expositions."""
    counters: dict[Key, float] = {}
    gauges: dict[Key, float] = {}
    buckets: dict[str, dict[float, float]] = {}

    def add(values: dict[Key, float], key: Key, value: float) -> None:
        values[key] = values.get(key, 0.0) + value

    for service, text in texts.items():
        counters |= {("requests", service): 0.0, ("errors", service): 0.0}
        found = buckets.setdefault(service, {})
        for family in text_string_to_metric_families(text):
            for name, labels, value, *_ in family.samples:
                if labels.get("route") in _PROBES:
                    continue
                if name == "http_requests_total":
                    add(counters, ("requests", service), value)
                    if labels["status"].startswith("5"):
                        add(counters, ("errors", service), value)
                elif name == "http_request_duration_seconds_bucket":
                    bound = float(labels["le"])
                    found[bound] = found.get(bound, 0.0) + value
                elif name == "prediction_log_queue_rows":
                    add(gauges, ("queue", "Log queue"), value)
                elif name == "model_reloads_total":
                    add(counters, ("reloads", labels["outcome"]), value)
                elif name == "drift_share" and value == value:
                    gauges["drift", labels["model"]] = value
    return Sample(at, counters, gauges, buckets)


def build_lines(samples: Iterable[Sample], now: float, span: float, interval: float) -> dict[str, Lines]:
    """Figure → line → values over the last `span` seconds, from samples about `interval` seconds apart."""
    step = span / POINTS
    lines: dict[str, dict[str, list[float | None]]] = {}
    increases: dict[int, dict[Key, float]] = {}
    seconds: dict[int, dict[Key, float]] = {}
    latencies: dict[int, dict[str, dict[float, float]]] = {}

    def put(key: Key, index: int, value: float | None) -> None:
        figure = lines.setdefault(key[0], {})
        figure.setdefault(key[1], [None] * POINTS)[index] = value

    for before, after in pairwise(samples):
        index = POINTS - 1 - int((now - after.at) / step)
        passed = after.at - before.at
        if not 0 <= index < POINTS or passed <= 0:
            continue
        for key, value in after.gauges.items():
            put(key, index, value)
        if passed > _MAX_GAP * interval:
            continue
        for key, value in after.counters.items():
            if key in before.counters:
                grown = increases.setdefault(index, {})
                grown[key] = grown.get(key, 0.0) + _find_increase(before.counters[key], value)
                lasted = seconds.setdefault(index, {})
                lasted[key] = lasted.get(key, 0.0) + passed
        for service, bounds in after.buckets.items():
            total = latencies.setdefault(index, {}).setdefault(service, {})
            for bound, count in bounds.items():
                known = before.buckets.get(service, {}).get(bound, 0.0)
                total[bound] = total.get(bound, 0.0) + _find_increase(known, count)
    for index, grown in increases.items():
        for key, value in grown.items():
            put(key, index, value if key[0] == "reloads" else value / seconds[index][key])
    for index, services in latencies.items():
        for service, counts in services.items():
            upper = sorted(counts)
            put(("latency", service), index, find_quantile(0.99, upper, [counts[bound] for bound in upper]))
    if step < interval:
        for figure in lines.values():
            for name, values in figure.items():
                figure[name] = _bridge(values, int(interval / step) + 1)
    return dict(lines)


def _find_increase(before: float, after: float) -> float:
    """Growth of a counter; a smaller value is that of a process that started again at 0."""
    return after - before if after >= before else after


def _bridge(values: list[float | None], most: int) -> list[float | None]:
    """Fill gaps of at most `most` points between samples with the next value, where points are closer than samples."""
    filled, gap = list(values), 0
    for index, value in enumerate(values):
        if value is None:
            gap += 1
            continue
        if 0 < gap <= most and index > gap:
            filled[index - gap : index] = [value] * gap
        gap = 0
    return filled
