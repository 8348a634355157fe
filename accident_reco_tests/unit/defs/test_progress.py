"""Progress of runs: lines everywhere, and a bar of the steps of each on a terminal."""

from __future__ import annotations

import io

import dagster as dg
import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from accident_reco.defs.launching import FollowedRun
from accident_reco.defs.progress import BarProgress, LineProgress


@dg.asset
def first() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"dagster/row_count": 1234})


@dg.asset(deps=[first], check_specs=[dg.AssetCheckSpec("complete", asset="second")])
def second() -> dg.MaterializeResult:
    return dg.MaterializeResult(
        check_results=[dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description="a gap")]
    )


@dg.asset(deps=[second])
def third() -> None:
    raise ValueError("no such year")


DEFINITIONS = dg.Definitions([first, second, third], jobs=[dg.define_asset_job("train", ["first", "second"])])
LINES = ["    first: 1,234 rows", "    second", "    ! check complete of second: a gap"]


def _run(instance: dg.DagsterInstance, *names: str) -> str:
    """A run of these assets that has ended; its id."""
    job = DEFINITIONS.resolve_implicit_global_asset_job_def()
    keys = [dg.AssetKey(name) for name in names]
    return job.execute_in_process(instance=instance, asset_selection=keys, raise_on_error=False).run_id


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Assets with their rows, failed checks, the time at the end; each once, however often it is polled."""
    with dg.DagsterInstance.ephemeral() as instance:
        followed = FollowedRun(instance, _run(instance, "first", "second"), "train", 2, LineProgress())
        assert followed.is_finished()
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines == LINES
    assert last.startswith("✔ train in ")


def test_a_failed_run_raises_its_cause() -> None:
    """The message names the job and the error that the code raised, not Dagster's wrapper."""
    with dg.DagsterInstance.ephemeral() as instance:
        followed = FollowedRun(instance, _run(instance, "first", "second", "third"), "train 2023", 3, LineProgress())
        with pytest.raises(RuntimeError, match=r"^train 2023: third: ValueError: no such year$"):
            followed.is_finished()


def test_a_bar_counts_the_steps_and_goes_with_its_run() -> None:
    """Bars of two runs at a time, each with its own steps; the lines are above them."""
    screen = io.StringIO()
    bars = Bars(console=Console(file=screen, force_terminal=True, width=100, color_system=None), auto_refresh=False)
    progress = BarProgress(bars)
    with bars, dg.DagsterInstance.ephemeral() as instance:
        other = progress.begin("ingest", 3)
        other.advance()
        followed = FollowedRun(instance, _run(instance, "first", "second"), "train", 2, progress)
        assert [(task.description, task.completed, task.total) for task in bars.tasks] == [
            ("ingest", 1, 3),
            ("train", 0, 2),
        ]
        assert followed.is_finished()
        assert [task.description for task in bars.tasks] == ["ingest"]
    for line in LINES:
        assert line in screen.getvalue()
