"""Writes deploy/grafana/dashboards/*.json: `python deploy/grafana/make_dashboards.py`. Edit here, never the JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from panels import Panel, make

HERE = Path(__file__).parent / "dashboards"


def sql(kind: str, title: str, tells: str, statement: str, **rest: Any) -> Panel:
    """A panel on the warehouse."""
    return Panel(kind, title, tells, " ".join(statement.split()), source="warehouse", **rest)


def log(kind: str, title: str, tells: str, *queries: tuple[str, str], **rest: Any) -> Panel:
    """A panel on the logs."""
    return Panel(kind, title, tells, queries, source="loki", **rest)


def ask(kind: str, title: str, tells: str, *queries: tuple[str, str], **rest: Any) -> Panel:
    """A panel on the metrics."""
    return Panel(kind, title, tells, queries, **rest)


def by_code(field: str, table: str) -> str:
    """Share of gravely hurt people by the words of a code."""
    joined = "" if table == "accidents" else 'JOIN places p ON p."Num_Acc" = a."Num_Acc" AND p.principal'
    column = f"a.{field}" if table == "accidents" else f"p.{field}"
    return f"""
        SELECT coalesce(c.en, 'unknown') AS "{field}", avg((v.grav IN (2, 3))::int) AS "gravely hurt"
        FROM victims v JOIN accidents a ON a."Num_Acc" = v."Num_Acc" {joined}
        LEFT JOIN codebook c ON c.field = '{field}' AND c.code = {column}
        GROUP BY 1 ORDER BY 2 DESC LIMIT 12"""  # noqa: S608 - names of our own columns


ACCIDENTS = make(
    "accidents", "Accidents", "Where, when and in which circumstances people are hurt", [
        ("Overview", [
            sql("stat", "Accidents", "All loaded years", "SELECT count(*) AS accidents FROM accidents", width=6,
                height=4),
            sql("stat", "People", "Road users in them", "SELECT count(*) AS people FROM victims", width=6, height=4),
            sql("stat", "Killed", "Within 30 days", "SELECT count(*) AS killed FROM victims WHERE grav = 2", width=6,
                height=4),
            sql("stat", "Gravely hurt", "Killed or hospitalised, share of the people",
                "SELECT avg((grav IN (2, 3))::int) AS share FROM victims", unit="percentunit", width=6, height=4),
        ]),
        ("Where", [
            sql("map", "By department", "A circle per department: accidents and share of gravely hurt people", """
                SELECT a.dep AS department, avg(a.lat) AS latitude, avg(a.long) AS longitude,
                count(DISTINCT a."Num_Acc") AS accidents, avg((v.grav IN (2, 3))::int) AS "gravely hurt"
                FROM accidents a JOIN victims v ON v."Num_Acc" = a."Num_Acc"
                WHERE a.lat BETWEEN -90 AND 90 AND a.long BETWEEN -180 AND 180 GROUP BY a.dep""", height=14),
            sql("table", "Departments", "The same as a table, most accidents first", """
                SELECT a.dep AS department, count(DISTINCT a."Num_Acc") AS accidents, count(*) AS people,
                sum((v.grav = 2)::int) AS killed, avg((v.grav IN (2, 3))::int) AS "gravely hurt"
                FROM accidents a JOIN victims v ON v."Num_Acc" = a."Num_Acc" GROUP BY a.dep
                ORDER BY 2 DESC LIMIT 100""", height=14),
        ]),
        ("Circumstances", [
            sql("bars", "By road", "Share of gravely hurt people", by_code("catr", "places"), unit="percentunit"),
            sql("bars", "By light", "Share of gravely hurt people", by_code("lum", "accidents"), unit="percentunit"),
            sql("bars", "By weather", "Share of gravely hurt people", by_code("atm", "accidents"), unit="percentunit"),
            sql("bars", "By collision", "Share of gravely hurt people", by_code("col", "accidents"),
                unit="percentunit"),
        ]),
        ("Over time", [
            sql("series", "Severity by month", "People a month, by severity", """
                SELECT make_timestamptz(a.an, a.mois, 1, 0, 0, 0, 'UTC') AS time, coalesce(c.en, 'unknown') AS metric,
                count(*) AS value FROM victims v JOIN accidents a ON a."Num_Acc" = v."Num_Acc"
                LEFT JOIN codebook c ON c.field = 'grav' AND c.code = v.grav WHERE a.mois IS NOT NULL
                GROUP BY 1, 2 ORDER BY 1""", width=16),
            sql("bars", "By hour", "Accidents by hour of French local time", """
                SELECT lpad((hrmn / 100)::text, 2, '0') AS hour, count(*) AS accidents FROM accidents
                WHERE hrmn IS NOT NULL GROUP BY 1 ORDER BY 1""", width=8),
        ]),
        ("Data", [
            sql("table", "Years loaded", "What the warehouse holds, and from where",
                "SELECT an AS year, data_source, accidents, people, refused, repaired, months, loaded_at "
                "FROM accident_years ORDER BY an"),
            sql("table", "Quarantine", "Rules that refused rows or repaired values",
                "SELECT an AS year, rule, disposition, count(*) AS cases FROM quarantine "
                "GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 50"),
        ]),
    ], since="now-6y",
)  # fmt: skip

API = make(
    "api", "API", "Traffic, errors and latency of the three services", [
        ("Traffic", [
            ask("series", "Requests", "Answered a second, by service", ("{{job}}", "job:http_requests:rate5m"),
                unit="reqps"),
            ask("series", "Errors", "Share of 5xx", ("{{job}}", "job:http_errors:ratio5m"), unit="percentunit"),
            ask("series", "By status", "Answers a second", ("{{job}} {{status}}",
                "sum by (job, status) (rate(http_requests_total[5m]))"), unit="reqps"),
            ask("series", "In progress", "Requests being answered now", ("{{job}}",
                "sum by (job) (http_requests_in_progress)")),
        ]),
        ("Latency", [
            ask("series", "Half of the answers", "Median by route", ("{{job}} {{route}}",
                "job_route:http_request_duration_seconds:p50_5m"), unit="s"),
            ask("series", "99 % of the answers", "99th percentile by route", ("{{job}} {{route}}",
                "job_route:http_request_duration_seconds:p99_5m"), unit="s"),
        ]),
        ("Predictions", [
            ask("series", "Predictions", "A second, by model", ("{{model}}", "model:predictions:rate5m")),
            ask("series", "Log", "Rows waiting, and rows dropped in ten minutes",
                ("waiting", "sum(prediction_log_queue_rows)"),
                ("dropped: {{reason}}", "sum by (reason) (increase(prediction_log_dropped_rows_total[10m]))")),
            sql("table", "Latest predictions", "From the prediction log", """
                SELECT at, model, version, user_name, source, status, score, latency_ms FROM predictions
                ORDER BY at DESC LIMIT 50"""),
            sql("table", "Callers", "Predictions by account in the chosen time", """
                SELECT coalesce(user_name, 'erased') AS account, model, count(*) AS predictions,
                avg(latency_ms) AS "mean ms" FROM predictions WHERE $__timeFilter(at) GROUP BY 1, 2
                ORDER BY 3 DESC LIMIT 50"""),
        ]),
    ], since="now-1h",
)  # fmt: skip

MODELS = make(
    "models", "Models", "Versions, metrics and the gate's decisions", [
        ("Champions", [
            ask("table", "Serving", "What the predict service answers with", ("", "model_info")),
            ask("stat", "Age", "Since the champion was promoted", ("{{model}}", "model:age:seconds"), unit="s"),
            ask("series", "Holdout metrics", "Of the champions, on the frozen holdout", ("{{model}} {{metric}}",
                'model_holdout_metric{metric=~"roc_auc|average_precision|brier|ece|rmse|mae|ndcg_at_10|coverage"}')),
            ask("series", "Reloads", "Attempts to load a champion, by outcome", ("{{model}} {{outcome}}",
                "sum by (model, outcome) (model_reloads_total)")),
        ]),
        ("Decisions", [
            sql("table", "Gate", "Each promotion, refusal and rollback, with its reason word for word", """
                SELECT decided_at, model, action, promoted, version, previous, reason FROM promotions
                ORDER BY decided_at DESC LIMIT 100""", width=24),
            sql("bars", "Promoted and refused", "Decisions by model; of a training, the last one", """
                SELECT model || ' ' || action AS decision, count(*) AS decisions FROM promotions AS made
                WHERE action <> 'refuse' OR NOT EXISTS (SELECT 1 FROM promotions AS later
                WHERE later.run_id = made.run_id AND later.model = made.model AND later.decided_at > made.decided_at)
                GROUP BY 1 ORDER BY 1"""),
            sql("table", "All versions", "Metrics of every version in the store", """
                SELECT model, version, metric, value, data_source, created_at FROM model_metrics
                ORDER BY created_at DESC, model, metric LIMIT 200"""),
        ]),
        ("Training", [
            ask("series", "Runs", "Dagster runs that ended, by job and end", ("{{job_name}} {{status}}",
                "sum by (job_name, status) (dagster_runs_ended_total)")),
            ask("series", "Duration", "Of each job's latest run", ("{{job_name}}", "dagster_job_last_duration_seconds"),
                unit="s"),
        ]),
    ], since="now-7d",
)  # fmt: skip

DRIFT = make(
    "drift", "Drift and retraining", "What comes in against what the champions were trained on, and what followed", [
        ("Now", [
            ask("stat", "Drift", "1 where the latest window has drifted", ("{{model}}", "drift_alarm"), width=8),
            ask("series", "Drifted features", "Share of the judged features", ("{{model}}", "drift_share"),
                unit="percentunit", width=16),
            ask("series", "Distance of each feature", "KS distance or total variation from the champion's own data",
                ("{{model}} {{feature}}", "drift_distance")),
            ask("series", "Live performance", "On labels that came in, with its bounds",
                ("{{model}} {{metric}} {{bound}}", "live_performance")),
        ]),
        ("Checks", [
            sql("table", "Reports", "Each drift check with its reason", """
                SELECT computed_at, model, version, window_name, status, rows, drifted, judged, reason
                FROM drift_reports ORDER BY computed_at DESC LIMIT 100""", width=24),
            sql("series", "Drifted share over time", "Share of drifted features, threshold 0.5", """
                SELECT computed_at AS time, model AS metric, drifted_share AS value FROM drift_reports
                WHERE $__timeFilter(computed_at) ORDER BY 1""", unit="percentunit"),
            sql("bars", "Verdicts", "Checks by outcome",
                "SELECT model || ' ' || status AS verdict, count(*) AS checks FROM drift_reports "
                "GROUP BY 1 ORDER BY 1"),
        ]),
        ("What followed", [
            sql("table", "Decisions", "The retrain policy, word for word", """
                SELECT decided_at, model, source, action, rule, reason FROM retrain_decisions
                ORDER BY decided_at DESC LIMIT 100"""),
            sql("table", "Requests", "Work asked for and how it ended", """
                SELECT requested_at, kind, model, source, requested_by, status, outcome FROM work_requests
                ORDER BY requested_at DESC LIMIT 100"""),
            sql("table", "Alerts", "What Alertmanager sent", """
                SELECT received_at, model, name, summary, request_id FROM alerts ORDER BY received_at DESC LIMIT 50"""),
            ask("series", "Open requests", "Waiting or worked on", ("{{kind}} {{model}}", "work_requests_open")),
        ]),
    ], since="now-7d",
)  # fmt: skip

MOVIES = make(
    "movies", "Movies", "Ratings, what people watch, and how good the recommendations are", [
        ("Ratings", [
            sql("stat", "Ratings", "In the warehouse", "SELECT count(*) AS ratings FROM ratings", width=6, height=4),
            sql("stat", "Users", "Who rated", "SELECT count(DISTINCT user_id) AS users FROM ratings", width=6,
                height=4),
            sql("stat", "Movies", "In the catalogue", "SELECT count(*) AS movies FROM movies", width=6, height=4),
            sql("stat", "Simulated", "Made up by /generate-ratings", "SELECT avg(simulated::int) AS share FROM ratings",
                unit="percentunit", width=6, height=4),
            sql("bars", "Stars", "Ratings by stars",
                "SELECT rating::text AS stars, count(*) AS ratings FROM ratings GROUP BY rating ORDER BY rating"),
            sql("series", "Ratings by month", "When they were given", """
                SELECT date_trunc('month', to_timestamp(rated_at)) AS time, count(*) AS ratings FROM ratings
                GROUP BY 1 ORDER BY 1"""),
            sql("table", "Most rated", "With their mean", """
                SELECT m.title, count(*) AS ratings, avg(r.rating) AS mean FROM ratings r
                JOIN movies m USING (movie_id) GROUP BY m.movie_id, m.title ORDER BY 2 DESC LIMIT 50"""),
            sql("table", "Genres", "Ratings and mean by genre", """
                SELECT genre, count(*) AS ratings, avg(r.rating) AS mean FROM ratings r JOIN movies m USING (movie_id),
                LATERAL unnest(string_to_array(m.genres, '|')) AS genre GROUP BY 1 ORDER BY 2 DESC"""),
        ]),
        ("Recommendations", [
            ask("series", "Quality", "Of the champion, on the frozen holdout", ("{{metric}}",
                'model_holdout_metric{model="movies", metric=~"rmse|mae|ndcg_at_10|recall_at_10|coverage"}')),
            ask("series", "Asked for", "Recommendations a second", ("{{version}} {{reason}}",
                "sum by (version, reason) (rate(recommendations_total[5m]))")),
            sql("table", "Imports", "Rating files read", """
                SELECT load_id, data_source, rows, quarantined, started_at, finished_at FROM rating_loads
                ORDER BY load_id DESC LIMIT 20""", width=24),
        ]),
    ], since="now-30y",
)  # fmt: skip

LOGS = make(
    "logs", "Logs and resources", "What the processes say, and what they take", [
        ("Logs", [
            log("series", "Lines", "A second, by service and level", ("{{service}} {{level}}",
                "sum by (service, level) (rate({service=~\".+\"}[5m]))")),
            log("series", "Errors", "Lines a minute", ("{{service}}",
                'sum by (service) (count_over_time({level=~"error|critical"}[1m]))')),
            log("logs", "Warnings and errors", "Newest first", ("", '{level=~"warning|error|critical"} | json'),
                width=24, height=10),
            log("logs", "Dagster runs", "What jobs wrote", ("", '{service=~"code|worker"} | run_id != ""'),
                width=24, height=10),
        ]),
        ("Machine", [
            ask("series", "Processors", "Busy share", ("{{instance}}",
                '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))'), unit="percentunit"),
            ask("series", "Memory", "Available share", ("{{instance}}",
                "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes"), unit="percentunit"),
            ask("series", "Disks", "Free share", ("{{mountpoint}}",
                'node_filesystem_avail_bytes{fstype!~"tmpfs|overlay|squashfs"} / node_filesystem_size_bytes'),
                unit="percentunit"),
            ask("series", "Processes", "Resident memory", ("{{job}}", "process_resident_memory_bytes"), unit="bytes"),
        ]),
        ("PostgreSQL and Dagster", [
            ask("series", "Database size", "By database", ("{{datname}}",
                'pg_database_size_bytes{datname!~"template.*"}'), unit="bytes"),
            ask("series", "Connections", "By database", ("{{datname}}", "sum by (datname) (pg_stat_activity_count)")),
            ask("series", "Runs under way", "By state", ("{{status}}", "dagster_runs_active")),
            ask("table", "Daemons", "1 where the heartbeat is fresh", ("", "dagster_daemon_healthy")),
            ask("table", "Targets", "1 where Prometheus can scrape", ("", "up")),
            ask("table", "Assets", "When each was last made",
                ("", "dagster_asset_last_materialization_timestamp_seconds * 1000"), unit="dateTimeAsIso"),
        ]),
    ], since="now-1h",
)  # fmt: skip


def rendered() -> dict[str, str]:
    """File name → JSON."""
    boards = (ACCIDENTS, API, MODELS, DRIFT, MOVIES, LOGS)
    plain = [_without_nulls(json.loads(json.dumps(board, cls=JSONEncoder))) for board in boards]
    return {f"{board['uid']}.json": json.dumps(board, indent=1, sort_keys=True) + "\n" for board in plain}


def _without_nulls(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _without_nulls(value) for name, value in part.items() if value is not None}
    return [_without_nulls(value) for value in part] if isinstance(part, list) else part


if __name__ == "__main__":
    for name, text in rendered().items():
        (HERE / name).write_text(text, encoding="utf-8")
