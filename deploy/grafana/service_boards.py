"""Dashboards of the services and of the machine: traffic, logs, resources."""

from __future__ import annotations

from accident_reco.dashboards import Dashboard, log_panel, metric_panel, sql_panel

API = Dashboard(
    "api",
    "API",
    "Traffic, errors and latency of the services",
    [
        (
            "Traffic",
            [
                metric_panel(
                    "series",
                    "Requests",
                    "Answers per second, by service",
                    ("{{job}}", "job:http_requests:rate5m"),
                    unit="reqps",
                ),
                metric_panel(
                    "series", "Errors", "Share of 5xx", ("{{job}}", "job:http_errors:ratio5m"), unit="percentunit"
                ),
                metric_panel(
                    "series",
                    "By status",
                    "Answers per second",
                    ("{{job}} {{status}}", "sum by (job, status) (rate(http_requests_total[5m]))"),
                    unit="reqps",
                ),
                metric_panel(
                    "series",
                    "In progress",
                    "Requests in progress",
                    ("{{job}}", "sum by (job) (http_requests_in_progress)"),
                ),
            ],
        ),
        (
            "Latency",
            [
                metric_panel(
                    "series",
                    "Median latency",
                    "50th percentile by route",
                    ("{{job}} {{route}}", "job_route:http_request_duration_seconds:p50_5m"),
                    unit="s",
                ),
                metric_panel(
                    "series",
                    "99th percentile of latency",
                    "99th percentile by route",
                    ("{{job}} {{route}}", "job_route:http_request_duration_seconds:p99_5m"),
                    unit="s",
                ),
            ],
        ),
        (
            "Predictions",
            [
                metric_panel(
                    "series", "Predictions", "Per second, by model", ("{{model}}", "model:predictions:rate5m")
                ),
                metric_panel(
                    "series",
                    "Log",
                    "Queued rows, and rows dropped in ten minutes",
                    ("queued", "sum(prediction_log_queue_rows)"),
                    ("dropped: {{reason}}", "sum by (reason) (increase(prediction_log_dropped_rows_total[10m]))"),
                ),
                sql_panel(
                    "table",
                    "Latest predictions",
                    "From the prediction log",
                    """
                SELECT at, model, version, user_name, source, status, score, latency_ms FROM predictions
                ORDER BY at DESC LIMIT 50""",
                ),
                sql_panel(
                    "table",
                    "Callers",
                    "Predictions by account in the selected time range",
                    """
                SELECT coalesce(user_name, 'erased') AS account, model, count(*) AS predictions,
                avg(latency_ms) AS "mean ms" FROM predictions WHERE $__timeFilter(at) GROUP BY 1, 2
                ORDER BY 3 DESC LIMIT 50""",
                ),
            ],
        ),
    ],
    since="now-1h",
)

LOGS = Dashboard(
    "logs",
    "Logs and resources",
    "Logs of the processes, and the resources that they use",
    [
        (
            "Logs",
            [
                log_panel(
                    "series",
                    "Lines",
                    "Lines per second, by service and level",
                    ("{{service}} {{level}}", 'sum by (service, level) (rate({service=~".+"}[5m]))'),
                ),
                log_panel(
                    "series",
                    "Errors",
                    "Error lines per minute",
                    ("{{service}}", 'sum by (service) (count_over_time({level=~"error|critical"}[1m]))'),
                ),
                log_panel(
                    "logs",
                    "Warnings and errors",
                    "Newest first",
                    ("", '{level=~"warning|error|critical"} | json'),
                    width=24,
                    height=10,
                ),
                log_panel(
                    "logs",
                    "Dagster runs",
                    "Logs of runs",
                    ("", '{service=~"code|worker"} | run_id != ""'),
                    width=24,
                    height=10,
                ),
            ],
        ),
        (
            "Machine",
            [
                metric_panel(
                    "series",
                    "Processors",
                    "Busy share",
                    ("{{instance}}", '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))'),
                    unit="percentunit",
                ),
                metric_panel(
                    "series",
                    "Memory",
                    "Available share",
                    ("{{instance}}", "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes"),
                    unit="percentunit",
                ),
                metric_panel(
                    "series",
                    "Disks",
                    "Free share",
                    (
                        "{{mountpoint}}",
                        'node_filesystem_avail_bytes{fstype!~"tmpfs|overlay|squashfs"} / node_filesystem_size_bytes',
                    ),
                    unit="percentunit",
                ),
                metric_panel(
                    "series", "Processes", "Resident memory", ("{{job}}", "process_resident_memory_bytes"), unit="bytes"
                ),
            ],
        ),
        (
            "PostgreSQL and Dagster",
            [
                metric_panel(
                    "series",
                    "Database size",
                    "By database",
                    ("{{datname}}", 'pg_database_size_bytes{datname!~"template.*"}'),
                    unit="bytes",
                ),
                metric_panel(
                    "series", "Connections", "By database", ("{{datname}}", "sum by (datname) (pg_stat_activity_count)")
                ),
                metric_panel("series", "Unfinished runs", "By status", ("{{status}}", "dagster_runs_active")),
                metric_panel("table", "Daemons", "1 where the heartbeat is fresh", ("", "dagster_daemon_healthy")),
                metric_panel("table", "Targets", "1 where Prometheus can scrape", ("", "up")),
                metric_panel(
                    "table",
                    "Assets",
                    "Latest materialization of each",
                    ("", "dagster_asset_last_materialization_timestamp_seconds * 1000"),
                    unit="dateTimeAsIso",
                ),
            ],
        ),
    ],
    since="now-1h",
)
