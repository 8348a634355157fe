"""Progress of a job: lines everywhere, and a bar of its steps on a terminal."""

from __future__ import annotations

import io

import dagster as dg
import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from accident_reco.contract import Step
from accident_reco.defs.progress import BarProgress, LineProgress, run_step


@dg.asset
def first() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"dagster/row_count": 1234})


@dg.asset(deps=[first], check_specs=[dg.AssetCheckSpec("complete", asset="second")])
def second() -> dg.MaterializeResult:
    return dg.MaterializeResult(
        check_results=[dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description="a gap")]
    )


DEFINITIONS = dg.Definitions([first, second], jobs=[dg.define_asset_job("train", "*")])
LINES = ["▶ train: as requested", "    first: 1,234 rows", "    second", "    ! check complete of second: a gap"]


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Assets with their rows, failed checks, the time at the end."""
    with dg.DagsterInstance.ephemeral() as instance:
        run_step(DEFINITIONS, instance, Step("train", "as requested"), LineProgress())
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines == LINES
    assert last.startswith("✔ train in ")


def test_a_bar_counts_the_steps() -> None:
    """The same lines above it; at the end every step has ended."""
    screen = io.StringIO()
    bars = Bars(console=Console(file=screen, force_terminal=True, width=100, color_system=None), auto_refresh=False)
    with bars, dg.DagsterInstance.ephemeral() as instance:
        run_step(DEFINITIONS, instance, Step("train", "as requested"), BarProgress(bars))
        (task,) = bars.tasks
        assert (task.description, task.completed, task.total) == ("train", 2, 2)
    for line in LINES:
        assert line in screen.getvalue()


def test_the_bar_is_that_of_the_job_in_progress() -> None:
    """A second job replaces the first one's."""
    bars = Bars(console=Console(file=io.StringIO()), auto_refresh=False)
    progress = BarProgress(bars)
    progress.begin("ingest", 3)
    progress.begin("train", 5)
    progress.advance()
    assert [(task.description, task.completed, task.total) for task in bars.tasks] == [("train", 1, 5)]
