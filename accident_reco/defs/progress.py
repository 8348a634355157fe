"""Runs one job in this process and reports its progress: line by line, with a bar below the lines on a terminal."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from uuid import uuid4

import dagster as dg
from dagster import DagsterEvent, DagsterEventType

from accident_reco.contract import Step

_STEP_ENDS = {DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE, DagsterEventType.STEP_SKIPPED}


class Progress(Protocol):
    """Where progress is shown."""

    def line(self, text: str) -> None:
        """Print one line."""

    def begin(self, name: str, steps: int) -> None:
        """A job with this number of steps starts."""

    def advance(self) -> None:
        """One of its steps ended."""


class LineProgress:
    """Lines on the standard output, for pipes and log files."""

    def line(self, text: str) -> None:
        """Print one line without buffering."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def begin(self, name: str, steps: int) -> None:
        """Shown by a line of the job's own."""

    def advance(self) -> None:
        """Shown by the lines of the assets."""


class BarProgress:
    """Lines on a terminal, and below them a bar of the job in progress.

    Args:
        bars: a started `rich.progress.Progress`.
    """

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._task: Any = None

    def line(self, text: str) -> None:
        """Print one line above the bar."""
        self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, name: str, steps: int) -> None:
        """Replace the bar by one of a new job."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(name, total=steps)

    def advance(self) -> None:
        """Move the bar by one step."""
        self._bars.advance(self._task)


@contextmanager
def show_progress() -> Iterator[Progress]:
    """A bar if the standard output is a terminal, else lines."""
    if not sys.stdout.isatty():
        yield LineProgress()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, transient=True) as bars:
        signal.signal(signal.SIGTERM, lambda number, _: _end_with_cursor(bars.console, number))
        yield BarProgress(bars)


def _end_with_cursor(console: Any, number: int) -> None:
    """End as the signal's default does; before it, show the terminal's cursor again, which the bar hides."""
    console.show_cursor(True)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def range_tags(step: Step) -> dict[str, str]:
    """Dagster's tags for a range of partitions in a single run."""
    if step.first is None or step.last is None:
        return {}
    return {"dagster/asset_partition_range_start": step.first, "dagster/asset_partition_range_end": step.last}


def run_step(definitions: dg.Definitions, instance: dg.DagsterInstance, step: Step, progress: Progress) -> None:
    """Run one job in this process; report each asset, each failed check and the steps that ended.

    Raises:
        dg.DagsterExecutionStepExecutionError: a step failed; its innermost cause is the domain's error.
    """
    span = f" {step.first}-{step.last}" if step.first and step.last != step.first else f" {step.first or ''}"
    progress.line(f"▶ {step.job}{span.rstrip()}: {step.why}")
    started = time.monotonic()
    run_id = str(uuid4())
    job = definitions.resolve_job_def(step.job)
    progress.begin(f"{step.job}{span.rstrip()}", len(job.nodes))
    instance.add_event_listener(run_id, lambda entry: _report_event(getattr(entry, "dagster_event", None), progress))
    result = job.execute_in_process(
        instance=instance,
        run_id=run_id,
        tags=range_tags(step),
        run_config={"loggers": {"console": {"config": {"log_level": "WARNING"}}}},
        raise_on_error=True,
    )
    if not result.success:
        raise RuntimeError(f"{step.job} failed")
    progress.line(f"✔ {step.job}{span.rstrip()} in {time.monotonic() - started:.1f} s")


def _report_event(event: DagsterEvent | None, progress: Progress) -> None:
    if event is None:
        return
    if event.event_type in _STEP_ENDS:
        progress.advance()
    if event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
        data: Any = event.event_specific_data
        materialization = data.materialization
        rows = materialization.metadata.get("dagster/row_count") or materialization.metadata.get("rows")
        partition = f" [{materialization.partition}]" if materialization.partition else ""
        amount = f": {rows.value:,} rows" if rows is not None and isinstance(rows.value, int) else ""
        progress.line(f"    {materialization.asset_key.to_user_string()}{partition}{amount}")
    elif event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
        data = event.event_specific_data
        if not data.passed:
            mark = "✘" if data.severity == dg.AssetCheckSeverity.ERROR else "!"
            text = data.description or "failed"
            progress.line(f"    {mark} check {data.check_name} of {data.asset_key.to_user_string()}: {text}")
