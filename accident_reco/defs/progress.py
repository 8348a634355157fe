"""Shows the progress of runs: line by line, with a bar of each below the lines on a terminal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import dagster as dg


class Bar(Protocol):
    """Progress of one run."""

    def advance(self) -> None:
        """One of its steps ended."""

    def close(self) -> None:
        """The run ended."""


class Progress(Protocol):
    """Where progress is shown."""

    def line(self, text: str) -> None:
        """Print one line."""

    def begin(self, name: str, steps: int) -> Bar:
        """A run with this number of steps starts."""


class _NoBar:
    """A run without a bar: its lines show its progress."""

    def advance(self) -> None:
        pass

    def close(self) -> None:
        pass


class LineProgress:
    """Lines on the standard output, for pipes and log files."""

    def line(self, text: str) -> None:
        """Print one line without buffering."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def begin(self, name: str, steps: int) -> Bar:
        """Shown by the lines of the assets."""
        return _NoBar()


class _TaskBar:
    """A task of `rich.progress.Progress`, removed when its run ends."""

    def __init__(self, bars: Any, name: str, steps: int) -> None:
        self._bars = bars
        self._task = bars.add_task(name, total=steps)

    def advance(self) -> None:
        self._bars.advance(self._task)

    def close(self) -> None:
        self._bars.remove_task(self._task)


class BarProgress:
    """Lines on a terminal, and below them a bar of each run in progress.

    Args:
        bars: a started `rich.progress.Progress`.
    """

    def __init__(self, bars: Any) -> None:
        self._bars = bars

    def line(self, text: str) -> None:
        """Print one line above the bars."""
        self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, name: str, steps: int) -> Bar:
        """Add a bar below the others."""
        return _TaskBar(self._bars, name, steps)


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


def report_event(event: dg.DagsterEvent, progress: Progress) -> None:
    """Print the line of a materialization with its rows, or of a check that failed."""
    if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION:
        data: Any = event.event_specific_data
        materialization = data.materialization
        rows = materialization.metadata.get("dagster/row_count")
        partition = f" [{materialization.partition}]" if materialization.partition else ""
        amount = f": {rows.value:,} rows" if rows is not None and isinstance(rows.value, int) else ""
        progress.line(f"    {materialization.asset_key.to_user_string()}{partition}{amount}")
    elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        data = event.event_specific_data
        if not data.passed:
            mark = "✘" if data.severity == dg.AssetCheckSeverity.ERROR else "!"
            text = data.description or "failed"
            progress.line(f"    {mark} check {data.check_name} of {data.asset_key.to_user_string()}: {text}")
