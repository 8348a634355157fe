"""Figures of the page Monitoring: what each shows, and where its lines come from. Pure but for the sources' reads.

`prometheus` reads them where a Prometheus is set; `metric_history` keeps a day of the services' own metrics otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

POINTS: Final = 60
"""Points of a line, whatever the span."""
Lines = Mapping[str, Sequence[float | None]]
"""Name of a line → values at `POINTS` equally distant times, oldest first; None where nothing was measured."""

_OWN = 'route!~"/metrics|/readyz|/livez"'  # probes and scrapes would hide the traffic of clients


@dataclass(frozen=True)
class Figure:
    """A chart of the page.

    Args:
        key: name in both sources.
        text: what it shows, in one sentence.
        expression: PromQL; `{rate}` is the range of a rate.
        legend: label that names a line.
        unit: after its numbers.
    """

    key: str
    title: str
    text: str
    expression: str
    legend: str
    unit: str = ""


FIGURES: Final[tuple[Figure, ...]] = (
    Figure(
        "requests",
        "Requests",
        "Answers per second by service, without probes",
        f"sum by (job) (rate(http_requests_total{{{_OWN}}}[{{rate}}]))",
        "job",
        "/s",
    ),
    Figure(
        "latency",
        "Latency",
        "Seconds, 99th percentile by service, without probes",
        f"histogram_quantile(0.99, sum by (job, le) (rate(http_request_duration_seconds_bucket{{{_OWN}}}[{{rate}}])))",
        "job",
        " s",
    ),
    Figure(
        "errors",
        "Errors",
        "Answers with 5xx per second by service",
        # Without any error there is no such series: the second part gives each service its zero.
        'sum by (job) (rate(http_requests_total{status=~"5.."}[{rate}])) '
        "or 0 * sum by (job) (rate(http_requests_total[{rate}]))",
        "job",
        "/s",
    ),
    Figure("queue", "Log queue", "Predictions that wait to be logged", "sum(prediction_log_queue_rows)", "", " rows"),
    Figure(
        "reloads",
        "Model reloads",
        "Attempts to load a champion, by outcome",
        "sum by (outcome) (increase(model_reloads_total[{rate}]))",
        "outcome",
    ),
    Figure(
        "drift",
        "Drift share",
        "Share of drifted features of the latest window, by model",
        "max by (model) (drift_share)",
        "model",
    ),
    Figure(
        "durations",
        "Run durations",
        "Seconds of each job's latest run",
        "max by (job_name) (dagster_job_last_duration_seconds)",
        "job_name",
        " s",
    ),
)


@dataclass(frozen=True)
class Reading:
    """All figures over a span.

    Args:
        lines: key of a figure → its lines; absent where the source does not measure it.
        source: where they come from, for people.
        problem: why there are none; empty where there are.
    """

    lines: Mapping[str, Lines]
    source: str
    problem: str = ""


class FigureSource(Protocol):
    """Where the lines come from."""

    async def read(self, hours: float) -> Reading:
        """The figures of the last hours."""


def find_quantile(quantile: float, bounds: Sequence[float], counts: Sequence[float]) -> float | None:
    """Quantile of a histogram by linear interpolation in its bucket, as Prometheus does; None without observations.

    Args:
        bounds: upper bounds of the buckets, the last one infinite.
        counts: cumulative counts, one per bound.
    """
    if not counts or counts[-1] <= 0:
        return None
    rank = quantile * counts[-1]
    index = next(i for i, count in enumerate(counts) if count >= rank)
    if bounds[index] == float("inf"):
        return bounds[index - 1] if index else None
    lower, before = (bounds[index - 1], counts[index - 1]) if index else (0.0, 0.0)
    within = counts[index] - before
    return lower + (bounds[index] - lower) * ((rank - before) / within if within else 1.0)
