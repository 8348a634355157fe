"""The dashboard of the machine, the databases and the runs, for the administrator."""

from __future__ import annotations

from accident_reco.dashboards import Dashboard, Format, metric_panel

FREE = ((0.0, "red"), (0.1, "orange"), (0.2, "green"))
"""Colours of a free share: the alert on disks fires below a tenth."""

MACHINE = Dashboard(
    "machine",
    "Machine",
    "administrator",
    "Is there enough processor, memory, disk and database, and do runs finish?",
    [
        (
            "Machine",
            [
                metric_panel(
                    "series",
                    "Processors",
                    "Busy share",
                    (
                        "{{instance}}",
                        '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))',
                    ),
                    unit="percentunit",
                ),
                metric_panel(
                    "series",
                    "Memory",
                    "Available share",
                    ("{{instance}}", "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes"),
                    shown=Format("percentunit", steps=FREE),
                ),
                metric_panel(
                    "series",
                    "Disks",
                    "Free share; the alert fires below 10 %",
                    (
                        "{{mountpoint}}",
                        'node_filesystem_avail_bytes{fstype!~"tmpfs|overlay|squashfs"} / node_filesystem_size_bytes',
                    ),
                    shown=Format("percentunit", steps=FREE),
                ),
                metric_panel(
                    "series", "Processes", "Resident memory", ("{{job}}", "process_resident_memory_bytes"), unit="bytes"
                ),
            ],
        ),
        (
            "Databases and runs",
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
                metric_panel(
                    "series", "Unfinished runs", "By status", ("{{status}}", "sum by (status) (dagster_runs_active)")
                ),
                metric_panel(
                    "table",
                    "Assets",
                    "Latest materialization of each",
                    ("", "max by (asset) (dagster_asset_last_materialization_timestamp_seconds * 1000)"),
                    columns={"Value": Format("dateTimeAsIso")},
                ),
            ],
        ),
    ],
    since="now-6h",
    refresh="30s",
)
