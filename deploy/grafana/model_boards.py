"""Dashboards of all models: versions and decisions, drift and retraining."""

from __future__ import annotations

from accident_reco.dashboards import Dashboard, metric_panel, sql_panel

MODELS = Dashboard(
    "models",
    "Models",
    "Versions, metrics and the gate's decisions",
    [
        (
            "Champions",
            [
                metric_panel("table", "Serving", "Version that the predict service serves", ("", "model_info")),
                metric_panel(
                    "stat", "Age", "Time since the champion was promoted", ("{{model}}", "model:age:seconds"), unit="s"
                ),
                metric_panel(
                    "series",
                    "Holdout metrics",
                    "Metrics of the champions on the frozen holdout",
                    (
                        "{{model}} {{metric}}",
                        'model_holdout_metric{metric=~"roc_auc|average_precision|brier|ece|rmse|mae|ndcg_at_10|coverage"}',
                    ),
                ),
                metric_panel(
                    "series",
                    "Reloads",
                    "Attempts to load a champion, by outcome",
                    ("{{model}} {{outcome}}", "sum by (model, outcome) (model_reloads_total)"),
                ),
            ],
        ),
        (
            "Decisions",
            [
                sql_panel(
                    "table",
                    "Gate",
                    "Each promotion, rejection and rollback, with its reason",
                    """
                SELECT decided_at, model, action, promoted, version, previous, reason FROM promotions
                ORDER BY decided_at DESC LIMIT 100""",
                    width=24,
                ),
                sql_panel(
                    "bars",
                    "Promoted and rejected",
                    "Decisions by model; the last one of each training",
                    """
                SELECT model || ' ' || action AS decision, count(*) AS decisions FROM promotions AS made
                WHERE action <> 'refuse' OR NOT EXISTS (SELECT 1 FROM promotions AS later
                WHERE later.run_id = made.run_id AND later.model = made.model AND later.decided_at > made.decided_at)
                GROUP BY 1 ORDER BY 1""",
                ),
                sql_panel(
                    "table",
                    "All versions",
                    "Metrics of every version in the store",
                    """
                SELECT model, version, metric, value, data_source, created_at FROM model_metrics
                ORDER BY created_at DESC, model, metric LIMIT 200""",
                ),
            ],
        ),
        (
            "Rollout",
            [
                metric_panel(
                    "series",
                    "Challenger's share",
                    "Share of the traffic that the challenger answers; below zero: no rollout",
                    ("{{model}}", "max by (model) (rollout_share)"),
                    unit="percentunit",
                ),
                metric_panel(
                    "series",
                    "Compared predictions",
                    "Predictions that both versions computed, by outcome",
                    (
                        "{{model}} {{outcome}}",
                        "sum by (model, outcome) (rate(rollout_comparisons_total[$__rate_interval]))",
                    ),
                    ("{{model}} dropped", "sum by (model) (rate(rollout_dropped_total[$__rate_interval]))"),
                    ("{{model}} fallback", "sum by (model) (rate(rollout_fallbacks_total[$__rate_interval]))"),
                    unit="reqps",
                ),
                sql_panel(
                    "table",
                    "Steps",
                    "Each decision on a rollout, with its reason",
                    """
                SELECT decided_at, model, action, version, previous, reason FROM promotions
                WHERE action LIKE 'rollout%' ORDER BY decided_at DESC LIMIT 100""",
                    width=24,
                ),
            ],
        ),
        (
            "Training",
            [
                metric_panel(
                    "series",
                    "Runs",
                    "Finished Dagster runs, by job and status",
                    ("{{job_name}} {{status}}", "sum by (job_name, status) (dagster_runs_ended_total)"),
                ),
                metric_panel(
                    "series",
                    "Duration",
                    "Duration of each job's latest run",
                    ("{{job_name}}", "dagster_job_last_duration_seconds"),
                    unit="s",
                ),
            ],
        ),
    ],
    since="now-7d",
)

DRIFT = Dashboard(
    "drift",
    "Drift and retraining",
    "Incoming data compared with the champions' training data, and the reactions",
    [
        (
            "Now",
            [
                metric_panel(
                    "stat", "Drift", "1 where the latest window has drifted", ("{{model}}", "drift_alarm"), width=8
                ),
                metric_panel(
                    "series",
                    "Drifted features",
                    "Share of the evaluated features",
                    ("{{model}}", "drift_share"),
                    unit="percentunit",
                    width=16,
                ),
                metric_panel(
                    "series",
                    "Distance of each feature",
                    "KS distance or total variation from the champion's reference",
                    ("{{model}} {{feature}}", "drift_distance"),
                ),
                metric_panel(
                    "series",
                    "Live performance",
                    "On labels received, with confidence bounds",
                    ("{{model}} {{metric}} {{bound}}", "live_performance"),
                ),
            ],
        ),
        (
            "Checks",
            [
                sql_panel(
                    "table",
                    "Reports",
                    "Each drift check with its reason",
                    """
                SELECT computed_at, model, version, window_name, status, rows, drifted, judged, reason
                FROM drift_reports ORDER BY computed_at DESC LIMIT 100""",
                    width=24,
                ),
                sql_panel(
                    "series",
                    "Drifted share over time",
                    "Share of drifted features; importance and predictions decide too",
                    """
                SELECT computed_at AS time, model AS metric, drifted_share AS value FROM drift_reports
                WHERE $__timeFilter(computed_at) ORDER BY 1""",
                    unit="percentunit",
                ),
                sql_panel(
                    "bars",
                    "Verdicts",
                    "Checks by outcome",
                    "SELECT model || ' ' || status AS verdict, count(*) AS checks FROM drift_reports "
                    "GROUP BY 1 ORDER BY 1",
                ),
            ],
        ),
        (
            "Reactions",
            [
                sql_panel(
                    "table",
                    "Decisions",
                    "Decisions of the retrain policy, with their reasons",
                    """
                SELECT decided_at, model, source, action, rule, reason FROM retrain_decisions
                ORDER BY decided_at DESC LIMIT 100""",
                ),
                sql_panel(
                    "table",
                    "Requests",
                    "Work requests and their outcomes",
                    """
                SELECT requested_at, kind, model, source, requested_by, status, outcome FROM work_requests
                ORDER BY requested_at DESC LIMIT 100""",
                ),
                sql_panel(
                    "table",
                    "Alerts",
                    "Alerts received from Alertmanager",
                    """
                SELECT received_at, model, name, summary, request_id FROM alerts ORDER BY received_at DESC LIMIT 50""",
                ),
                metric_panel(
                    "series", "Open requests", "Queued or in progress", ("{{kind}} {{model}}", "work_requests_open")
                ),
            ],
        ),
    ],
    since="now-7d",
)
