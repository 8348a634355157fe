"""Figures from the services' own expositions and from Prometheus."""

import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.console.figures import FIGURES, POINTS, find_quantile
from serving.console.metric_history import Sample, build_lines, read_sample
from serving.console.prometheus import read_matrix


def exposition(requests: int, errors: int = 0, seconds: float = 0.02) -> str:
    """What a service exposes after some requests and many probes."""
    registry = CollectorRegistry()
    served = Counter("http_requests", "h", ("method", "route", "status"), registry=registry)
    lasted = Histogram("http_request_duration_seconds", "h", ("method", "route"), registry=registry)
    served.labels("GET", "/models", "200").inc(requests - errors)
    served.labels("GET", "/models", "503").inc(errors)
    served.labels("GET", "/metrics", "200").inc(1_000)
    for _ in range(requests):
        lasted.labels("GET", "/models").observe(seconds)
    for _ in range(1_000):
        lasted.labels("GET", "/livez").observe(5)
    Gauge("prediction_log_queue_rows", "h", registry=registry).set(7)
    Gauge("drift_share", "h", ("model",), registry=registry).labels("m").set(0.25)
    Counter("model_reloads", "h", ("model", "outcome"), registry=registry).labels("m", "loaded").inc(requests // 10)
    return generate_latest(registry).decode()


def test_rates_quantiles_and_gauges_of_samples() -> None:
    """60 requests a minute are one a second; probes and scrapes count as nothing."""
    samples = [read_sample(60.0 * i, {"predict": exposition(60 * (i + 1), errors=6 * i)}) for i in range(61)]
    lines = build_lines(samples, 3_600.0, 3_600.0, 60.0)
    assert lines["requests"]["predict"] == pytest.approx([1.0] * POINTS)
    assert lines["errors"]["predict"] == pytest.approx([0.1] * POINTS)
    assert all(value is not None and 0.01 < value <= 0.025 for value in lines["latency"]["predict"])
    assert lines["queue"]["Log queue"][-1] == 7
    assert lines["drift"]["m"][-1] == 0.25
    assert sum(value or 0 for value in lines["reloads"]["loaded"]) == 360


def test_a_restart_and_an_outage() -> None:
    """A counter that starts again is no negative rate; minutes without a sample are a gap, not zero."""
    counts = {0: 100, 60: 160, 120: 30, 180: 90, 1_200: 5_000, 1_260: 5_060}
    samples = [Sample(float(at), {("requests", "x"): float(count)}) for at, count in counts.items()]
    values = build_lines(samples, 1_260.0, 3_600.0, 60.0)["requests"]["x"]
    assert [value for value in values if value is not None] == pytest.approx([1.0, 0.5, 1.0, 1.0])
    assert values[-1] == 1.0
    assert values[-2] is None


def test_a_span_shorter_and_longer_than_the_interval_of_samples() -> None:
    """A day from minutes averages them; an hour from sparse samples has no holes between them."""
    minutes = [Sample(60.0 * i, {("requests", "x"): 60.0 * i}) for i in range(1_441)]
    assert build_lines(minutes, 86_400.0, 86_400.0, 60.0)["requests"]["x"] == pytest.approx([1.0] * POINTS)
    sparse = [Sample(300.0 * i, {("requests", "x"): 300.0 * i}) for i in range(13)]
    assert None not in build_lines(sparse, 3_600.0, 3_600.0, 300.0)["requests"]["x"][5:]


def test_quantile_as_prometheus_computes_it() -> None:
    """Interpolated in the bucket; the last finite bound where it lies beyond."""
    assert find_quantile(0.5, [0.1, 0.2, math.inf], [0, 10, 10]) == pytest.approx(0.15)
    assert find_quantile(0.99, [0.1, math.inf], [1, 100]) == 0.1
    assert find_quantile(0.99, [0.1, math.inf], [0, 0]) is None
    assert find_quantile(0.99, [math.inf], [3]) is None


def test_a_matrix_of_prometheus() -> None:
    """Values at their place of the span, NaN as a gap, lines by the figure's legend."""
    drift = next(figure for figure in FIGURES if figure.key == "drift")
    series = {"metric": {"model": "m"}, "values": [[940, "0.5"], [1_000, "NaN"], [880, "0.1"]]}
    values = read_matrix([series], drift, 1_000.0, 60.0)["m"]
    assert values[-3:] == [0.1, 0.5, None]
    assert list(read_matrix([{"metric": {}, "values": []}], FIGURES[3], 1.0, 1.0)) == ["Log queue"]
