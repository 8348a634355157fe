"""Dashboards for the data scientist, of all models: versions and decisions, drift and retraining."""

from __future__ import annotations

from accident_reco.dashboards import Dashboard, Format, metric_panel, sql_panel

_CHOSEN = "model IN (${model:sqlstring})"
_VERSIONS = "version IN (${version:sqlstring})"
HOLDOUT = "roc_auc|average_precision|brier|ece|rmse|mae|ndcg_at_10|recall_at_10|coverage"
FIGURE = Format("none", decimals=4)

MODELS = Dashboard(
    "models",
    "Models",
    "data scientist",
    "Is the model still good, and what changed?",
    [
        (
            "Is it still good?",
            [
                metric_panel(
                    "table",
                    "Serving",
                    "Version that the predict service serves",
                    ("", 'max by (model, version, data_source) (model_info{model=~"$model"})'),
                    width=8,
                ),
                metric_panel(
                    "stat",
                    "Age",
                    "Time since the champion was promoted; the alert fires after 90 days",
                    ("{{model}}", 'model:age:seconds{model=~"$model"}'),
                    shown=Format("s", steps=((0.0, "green"), (45 * 86400.0, "orange"), (90 * 86400.0, "red"))),
                    width=8,
                ),
                metric_panel(
                    "series",
                    "Reloads",
                    "Attempts to load a champion, by outcome",
                    (
                        "{{model}} {{outcome}}",
                        'sum by (model, outcome) (increase(model_reloads_total{model=~"$model"}[$__rate_interval]))',
                    ),
                    width=8,
                ),
                metric_panel(
                    "series",
                    "Holdout metrics",
                    "Metrics of the champions on the frozen holdout",
                    ("{{model}} {{metric}}", f'model_holdout_metric{{model=~"$model", metric=~"{HOLDOUT}"}}'),
                    shown=FIGURE,
                ),
                metric_panel(
                    "series",
                    "Live performance",
                    "On labels received, with 95 % confidence bounds",
                    ("{{model}} {{metric}} {{bound}}", 'live_performance{model=~"$model"}'),
                    shown=FIGURE,
                ),
            ],
        ),
        (
            "What changed?",
            [
                sql_panel(
                    "table",
                    "Gate",
                    "Each promotion, rejection and rollback, with its reason",
                    f"""SELECT decided_at, model, action, promoted, version, previous, reason, run_id FROM promotions
                    WHERE {_CHOSEN} ORDER BY decided_at DESC LIMIT 100""",  # noqa: S608 - our own columns
                    width=24,
                ),
                sql_panel(
                    "bars",
                    "Promoted and rejected",
                    "Decisions by model; the last one of each training",
                    f"""SELECT model || ' ' || CASE action WHEN 'promote' THEN 'promoted' WHEN 'refuse' THEN 'rejected'
                    WHEN 'rollback' THEN 'rolled back' ELSE replace(action, '_', ' ') END AS decision,
                    count(*) AS decisions FROM promotions AS made
                    WHERE {_CHOSEN} AND (action <> 'refuse' OR NOT EXISTS (SELECT 1 FROM promotions AS later
                    WHERE later.run_id = made.run_id AND later.model = made.model
                    AND later.decided_at > made.decided_at)) GROUP BY 1 ORDER BY 1""",  # noqa: S608
                    unit="locale",
                ),
                sql_panel(
                    "table",
                    "All versions",
                    "Metrics of every version in the store",
                    f"""SELECT model, version, metric, value, data_source, created_at FROM model_metrics
                    WHERE {_CHOSEN} AND {_VERSIONS} ORDER BY created_at DESC, model, metric LIMIT 200""",  # noqa: S608
                    columns={"value": FIGURE},
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
                    ("{{model}}", 'max by (model) (rollout_share{model=~"$model"})'),
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
                    f"""SELECT decided_at, model, action, version, previous, reason FROM promotions
                    WHERE {_CHOSEN} AND action LIKE 'rollout%' ORDER BY decided_at DESC LIMIT 100""",  # noqa: S608
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
                    (
                        "{{job_name}} {{status}}",
                        "sum by (job_name, status) (increase(dagster_runs_ended_total[$__rate_interval]))",
                    ),
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
    variables=("model", "version"),
    refresh="1m",
)

DRIFT = Dashboard(
    "drift",
    "Drift and retraining",
    "data scientist",
    "Does incoming data differ from the champions' training data, and what was done about it?",
    [
        (
            "Now",
            [
                metric_panel(
                    "stat",
                    "Drift",
                    "Verdict on the latest window",
                    ("{{model}}", 'max by (model) (drift_alarm{model=~"$model"})'),
                    shown=Format("none", words={"0": ("no drift", "green"), "1": ("drift", "red")}),
                    width=8,
                ),
                metric_panel(
                    "series",
                    "Drifted features",
                    "Share of the evaluated features",
                    ("{{model}}", 'drift_share{model=~"$model"}'),
                    shown=Format("percentunit", steps=((0.0, "green"), (0.5, "red"))),
                    width=16,
                ),
                metric_panel(
                    "series",
                    "Distance of each feature",
                    "KS distance or total variation from the champion's reference",
                    ("{{model}} {{feature}}", 'drift_distance{model=~"$model"}'),
                    shown=Format("none", decimals=3),
                    width=24,
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
                    f"""SELECT computed_at, model, version, window_name, status, rows, drifted, judged AS evaluated,
                    drifted_share, reason, run_id FROM drift_reports WHERE {_CHOSEN}
                    ORDER BY computed_at DESC LIMIT 100""",  # noqa: S608
                    columns={"rows": Format("locale")},
                    width=24,
                ),
                sql_panel(
                    "series",
                    "Drifted share over time",
                    "Share of drifted features; importance and predictions decide too",
                    f"""SELECT computed_at AS time, model AS metric, drifted_share AS value FROM drift_reports
                    WHERE $__timeFilter(computed_at) AND {_CHOSEN} ORDER BY 1""",  # noqa: S608
                    unit="percentunit",
                ),
                sql_panel(
                    "bars",
                    "Verdicts",
                    "Checks by outcome",
                    f"""SELECT model || ' ' || replace(status, '_', ' ') AS verdict, count(*) AS checks
                    FROM drift_reports WHERE {_CHOSEN} GROUP BY 1 ORDER BY 1""",  # noqa: S608
                    unit="locale",
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
                    f"""SELECT decided_at, model, source, action, rule, reason, request_id AS work_request
                    FROM retrain_decisions WHERE {_CHOSEN} ORDER BY decided_at DESC LIMIT 100""",  # noqa: S608
                ),
                sql_panel(
                    "table",
                    "Requests",
                    "Work requests and their outcomes",
                    f"""SELECT requested_at, kind, model, source, requested_by, status, outcome, run_id
                    FROM work_requests WHERE {_CHOSEN} ORDER BY requested_at DESC LIMIT 100""",  # noqa: S608
                ),
                sql_panel(
                    "table",
                    "Alerts",
                    "Alerts received from Alertmanager",
                    f"""SELECT received_at, model, name, summary, request_id AS work_request FROM alerts
                    WHERE {_CHOSEN} ORDER BY received_at DESC LIMIT 50""",  # noqa: S608
                ),
                metric_panel(
                    "series",
                    "Open requests",
                    "Queued or in progress",
                    ("{{kind}} {{model}}", 'work_requests_open{model=~"$model"}'),
                ),
            ],
        ),
    ],
    since="now-7d",
    variables=("model",),
    refresh="1m",
)
