"""Runs one job in this process and reports its progress line by line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import dagster as dg
from dagster import DagsterEvent, DagsterEventType

from accident_reco.contract import Step

Report = Callable[[str], None]
"""Prints one line."""


def range_tags(step: Step) -> dict[str, str]:
    """Dagster's tags for a range of partitions in a single run."""
    if step.first is None or step.last is None:
        return {}
    return {"dagster/asset_partition_range_start": step.first, "dagster/asset_partition_range_end": step.last}


def run_step(definitions: dg.Definitions, instance: dg.DagsterInstance, step: Step, report: Report) -> None:
    """Run one job in this process; report each asset and each failed check.

    Raises:
        dg.DagsterExecutionStepExecutionError: a step failed; its innermost cause is the domain's error.
    """
    span = f" {step.first}-{step.last}" if step.first and step.last != step.first else f" {step.first or ''}"
    report(f"▶ {step.job}{span.rstrip()}: {step.why}")
    started = time.monotonic()
    run_id = str(uuid4())
    instance.add_event_listener(run_id, lambda entry: _report_event(getattr(entry, "dagster_event", None), report))
    job = definitions.resolve_job_def(step.job)
    result = job.execute_in_process(
        instance=instance,
        run_id=run_id,
        tags=range_tags(step),
        run_config={"loggers": {"console": {"config": {"log_level": "WARNING"}}}},
        raise_on_error=True,
    )
    if not result.success:
        raise RuntimeError(f"{step.job} failed")
    report(f"✔ {step.job}{span.rstrip()} in {time.monotonic() - started:.1f} s")


def _report_event(event: DagsterEvent | None, report: Report) -> None:
    if event is None:
        return
    if event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
        data: Any = event.event_specific_data
        materialization = data.materialization
        rows = materialization.metadata.get("dagster/row_count") or materialization.metadata.get("rows")
        partition = f" [{materialization.partition}]" if materialization.partition else ""
        amount = f": {rows.value:,} rows" if rows is not None and isinstance(rows.value, int) else ""
        report(f"    {materialization.asset_key.to_user_string()}{partition}{amount}")
    elif event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
        data = event.event_specific_data
        if not data.passed:
            mark = "✘" if data.severity == dg.AssetCheckSeverity.ERROR else "!"
            text = data.description or "failed"
            report(f"    {mark} check {data.check_name} of {data.asset_key.to_user_string()}: {text}")
