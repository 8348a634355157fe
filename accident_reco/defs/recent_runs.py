"""The latest runs of the home's Dagster instance as plain data, for `accident-reco status`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg


def recent_runs(dagster_home: Path, limit: int) -> list[dict[str, Any]]:
    """Id, job, status and UTC times of the latest runs, newest first; empty before the first start."""
    if not (dagster_home / "dagster.yaml").exists():
        return []
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        return [
            {
                "id": record.dagster_run.run_id,
                "job": record.dagster_run.job_name,
                "status": record.dagster_run.status.value.lower(),
                "started_at": _format_time(record.start_time),
                "ended_at": _format_time(record.end_time),
            }
            for record in instance.get_run_records(limit=limit)
        ]


def _format_time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
