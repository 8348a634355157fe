"""Dashboards for the administrator: services and logs."""

from __future__ import annotations

from accident_reco.dashboards import UP, Dashboard, Format, log_panel, metric_panel, sql_panel

_ANSWERS = "sum by (job) (rate(http_requests_total[$__rate_interval]))"
_SERVER_ERRORS = 'sum by (job) (rate(http_requests_total{status=~"5.."}[$__rate_interval]))'
_ERROR_SHARE = f"({_SERVER_ERRORS} or 0 * {_ANSWERS}) / ({_ANSWERS} > 0)"  # 0, not nothing, without errors
_LATENCY = (
    "histogram_quantile({}, sum by (job, route, le) (rate(http_request_duration_seconds_bucket[$__rate_interval])))"
)


def _increase(metric: str) -> str:
    """Increase of a counter by reason, per step of the panel."""
    return f"sum by (reason) (increase({metric}[$__rate_interval]))"


API = Dashboard(
    "api",
    "Services",
    "administrator",
    "Is it up, what is slow, and what fails?",
    [
        (
            "Is it up?",
            [
                metric_panel(
                    "stat",
                    "Targets",
                    "Every program that Prometheus scrapes, and whether it answers",
                    ("{{job}}", "min by (job) (up)"),
                    shown=Format("none", words=UP),
                    width=24,
                    height=5,
                ),
                metric_panel(
                    "stat",
                    "Daemons",
                    "Dagster's daemons, and whether their heartbeat is fresh",
                    ("{{daemon}}", "min by (daemon) (dagster_daemon_healthy)"),
                    shown=Format("none", words=UP),
                    width=12,
                    height=5,
                ),
                metric_panel(
                    "stat",
                    "Champions served",
                    "Whether the predict service serves the promoted version of each model",
                    ("{{model}}", "min by (model) (model_up_to_date)"),
                    shown=Format("none", words={"1": ("current", "green"), "0": ("outdated", "red")}),
                    width=12,
                    height=5,
                ),
            ],
        ),
        (
            "What is slow?",
            [
                metric_panel(
                    "series",
                    "Median latency",
                    "Half of the answers of a route are faster",
                    ("{{job}} {{route}}", _LATENCY.format("0.5")),
                    unit="s",
                ),
                metric_panel(
                    "series",
                    "99th percentile of latency",
                    "One answer of a hundred is slower; the alert fires above 250 ms on the predict service",
                    ("{{job}} {{route}}", _LATENCY.format("0.99")),
                    shown=Format("s", steps=((0.0, "green"), (0.25, "red"))),
                ),
                metric_panel(
                    "series",
                    "Requests",
                    "Answers per second, by service",
                    ("{{job}}", _ANSWERS),
                    unit="reqps",
                ),
                metric_panel(
                    "series",
                    "In progress",
                    "Requests being served now",
                    ("{{job}}", "sum by (job) (http_requests_in_progress)"),
                ),
            ],
        ),
        (
            "What fails?",
            [
                metric_panel(
                    "series",
                    "Errors",
                    "Share of the answers that are server errors; the alert fires above 2 %",
                    ("{{job}}", _ERROR_SHARE),
                    shown=Format("percentunit", steps=((0.0, "green"), (0.02, "red"))),
                ),
                metric_panel(
                    "series",
                    "By status",
                    "Answers per second, by status",
                    ("{{job}} {{status}}", "sum by (job, status) (rate(http_requests_total[$__rate_interval]))"),
                    unit="reqps",
                ),
                metric_panel(
                    "series",
                    "Prediction log",
                    "Rows that wait to be written, and rows lost",
                    ("queued", "sum(prediction_log_queue_rows)"),
                    (
                        "lost {{reason}}",
                        _increase("prediction_log_dropped_rows_total"),
                    ),
                ),
                sql_panel(
                    "table",
                    "Failed predictions",
                    "The latest answers that were no success; the request id leads to its log lines",
                    """SELECT at, request_id, model, version, user_name, source, status AS http_status, latency_ms
                    FROM predictions WHERE status >= 400 AND $__timeFilter(at) ORDER BY at DESC LIMIT 50""",
                ),
            ],
        ),
        (
            "Who calls?",
            [
                sql_panel(
                    "table",
                    "Callers",
                    "Predictions by account in the selected time range",
                    """SELECT coalesce(user_name, 'erased') AS account, model, count(*) AS predictions,
                    avg(latency_ms) AS latency_ms FROM predictions WHERE $__timeFilter(at) GROUP BY 1, 2
                    ORDER BY 3 DESC LIMIT 50""",
                    columns={"predictions": Format("locale")},
                ),
                sql_panel(
                    "table",
                    "Latest predictions",
                    "From the prediction log",
                    """SELECT at, request_id, model, version, user_name, source, status AS http_status, score,
                    latency_ms FROM predictions WHERE $__timeFilter(at) ORDER BY at DESC LIMIT 50""",
                ),
            ],
        ),
    ],
    since="now-1h",
    refresh="30s",
)

_SERVICE = '{service=~"$service"'
_ERRORS = _SERVICE + ', level=~"error|critical"}'
LOGS = Dashboard(
    "logs",
    "Logs",
    "administrator",
    "What failed, and why?",
    [
        (
            "What failed?",
            [
                log_panel(
                    "series",
                    "Errors",
                    "Lines of level error or critical",
                    (
                        "{{service}}",
                        f"sum by (service) (count_over_time({_ERRORS} [$__auto]))",
                    ),
                ),
                log_panel(
                    "series",
                    "Lines",
                    "Lines per second, by service and level",
                    ("{{service}} {{level}}", f"sum by (service, level) (rate({_SERVICE}}} [$__auto]))"),
                ),
                sql_panel(
                    "table",
                    "Failed runs and requests",
                    "Work that ended as failed, with the reason; the run id leads to Dagster",
                    """SELECT updated_at, kind, model, source, run_id, status, outcome FROM work_requests
                    WHERE status = 'failed' AND $__timeFilter(updated_at) ORDER BY updated_at DESC LIMIT 50""",
                    width=24,
                ),
            ],
        ),
        (
            "Why?",
            [
                log_panel(
                    "logs",
                    "Warnings and errors",
                    "Newest first; a line opens to its reason and stack trace",
                    ("", f'{_SERVICE}, level=~"warning|error|critical"}}'),
                    width=24,
                    height=12,
                ),
                log_panel(
                    "logs",
                    "Runs",
                    "What runs log: decisions, materializations, checks and failures",
                    ("", '{service=~"code|worker|daemon"} | run_id != "" | run_id =~ "$run.*"'),
                    width=24,
                    height=10,
                ),
                log_panel(
                    "logs",
                    "Decisions of sensors",
                    "What the retrain policy and the other sensors decided, word for word",
                    ("", '{service="code"} | json | sensor != ""'),
                    width=24,
                ),
                log_panel(
                    "logs",
                    "One request",
                    "Lines of the request id that is entered above",
                    ("", '{service=~".+"} | request_id != "" | request_id = "$request"'),
                    width=24,
                ),
            ],
        ),
        (
            "Are the logs complete?",
            [
                metric_panel(
                    "series",
                    "Lines sent to Loki",
                    "Per second, by level, as Alloy counts them",
                    ("{{level}}", "sum by (level) (rate(log_lines_total[$__rate_interval]))"),
                ),
                metric_panel(
                    "series",
                    "Lines dropped",
                    "On purpose (ticks, text that came as JSON) and lost",
                    ("{{reason}}", _increase("loki_process_dropped_lines_total")),
                    (
                        "lost {{reason}}",
                        _increase("loki_write_dropped_entries_total"),
                    ),
                    (
                        "rejected {{reason}}",
                        _increase("loki_discarded_samples_total"),
                    ),
                ),
            ],
        ),
    ],
    since="now-6h",
    variables=("service", "request", "run"),
    refresh="30s",
)
