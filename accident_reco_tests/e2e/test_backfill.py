"""Backfills of accident years by Dagster's own commands and daemon: a range, a job backfill, an asset backfill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from accident_reco.launch.home import prepare_home
from accident_reco.models.accidents.assets.ingest import QUARANTINE, RAW, VICTIMS
from accident_reco.models.accidents.assets.partitions import register_years
from accident_reco.models.accidents.sample import sample_year
from accident_reco.settings import Settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
MODULE = "accident_reco_tests.support.ingest_definitions"
EVERYTHING = " or ".join(f'key:"{key.to_user_string()}"' for key in [*RAW, VICTIMS, QUARANTINE])
LAUNCH = """
mutation($keys: [AssetKeyInput!]!, $years: [String!]!) {
  launchPartitionBackfill(backfillParams: {assetSelection: $keys, partitionNames: $years}) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""


class Home:
    """A Dagster home and the folder of its published files."""

    def __init__(self, folder: Path) -> None:
        self.published = folder / "published"
        self.published.mkdir()
        settings = Settings.load(home=folder / "home", accidents_source=str(self.published))
        prepare_home(settings)
        self.environment = {
            **os.environ,
            "ACCIDENT_RECO_HOME": str(settings.home),
            "ACCIDENT_RECO_ACCIDENTS_SOURCE": str(self.published),
            "DAGSTER_HOME": str(settings.dagster_home),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            "PYTHONPATH": str(ROOT),
        }
        self.workspace = settings.dagster_home / "workspace.yaml"
        self.workspace.write_text(f"load_from:\n  - python_module: {MODULE}\n", encoding="utf-8")
        self.instance = dg.DagsterInstance.from_config(str(settings.dagster_home))
        self.instance.upgrade()
        register_years(self.instance, range(2008, 2015))  # as `accident-reco pipeline` and the source sensor do

    def publish(self, year: int) -> None:
        for file in sample_year(year, 150).values():
            (self.published / file.name).write_bytes(file.data)

    def run(self, program: str, *arguments: str, fails: bool = False) -> str:
        done = subprocess.run(
            [str(BIN / program), *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (done.returncode != 0) is fails, done.stderr[-3000:]
        return done.stdout + done.stderr

    def materialize(self, *which: str, fails: bool = False) -> str:
        return self.run("dg", "launch", "-m", MODULE, "--assets", EVERYTHING, *which, fails=fails)

    def years(self) -> list[str]:
        return sorted(self.instance.get_materialized_partitions(VICTIMS))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.instance.dispose()


@contextmanager
def daemon(home: Home, log: Path) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """A running daemon; yields a function that waits for a condition."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            [str(BIN / "dagster-daemon"), "run", "-w", str(home.workspace)],
            env=home.environment,
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )

    def wait(until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 300
        while not until():
            assert child.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            child_wait(child)

    try:
        yield wait
    finally:
        child.terminate()
        child.wait(30)


def child_wait(child: subprocess.Popen[bytes]) -> None:
    """Wait for a second, or for the child's end."""
    try:
        child.wait(1)
    except subprocess.TimeoutExpired:
        return


def test_backfills(home: Home, tmp_path: Path) -> None:
    """A range in one run with a damaged year, that year alone, a job backfill, an asset backfill."""
    for year in range(2008, 2015):
        home.publish(year)
    (home.published / "usagers_2010.csv").write_bytes(b"<html>Bad Gateway</html>")

    # One run over 2008 to 2011: the damaged year fails, the others succeed.
    output = home.materialize("--partition-range", "2008...2011", fails=True)
    assert "2010: usagers_2010.csv line 1: this is not a usagers file" in output
    assert home.years() == ["2008", "2009", "2011"]
    assert home.instance.get_runs_count() == 1

    # The damaged year is published again and retried alone.
    home.publish(2010)
    home.materialize("--partition", "2010")
    assert home.years() == ["2008", "2009", "2010", "2011"]

    # A job backfill and an asset backfill are requested before the daemon starts: it checks for new ones every 30 s.
    before = {run.run_id for run in home.instance.get_runs()}
    backfill = ("job", "backfill", "-w", str(home.workspace), "-j", "ingest_accidents", "--noprompt")
    home.run("dagster", *backfill, "--partitions", "2011,2012")
    keys = [{"path": key.path} for key in [*RAW, VICTIMS, QUARANTINE]]
    variables = json.dumps({"keys": keys, "years": ["2013", "2014"]})
    answer = home.run("dagster-graphql", "-w", str(home.workspace), "-t", LAUNCH, "-v", variables)
    assert "LaunchBackfillSuccess" in answer, answer
    with daemon(home, tmp_path / "daemon.log") as wait:
        succeeded = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS])
        wait(lambda: home.instance.get_runs_count(succeeded) == 4)  # the retry above is one of them

    # The job's: one run per year, whatever the policy. The assets': by their policy one run of the whole range.
    new = [run for run in home.instance.get_runs() if run.run_id not in before]
    (single,) = [run for run in new if run.job_name != "ingest_accidents"]
    assert {run.tags["dagster/partition"] for run in new if run is not single} == {"2011", "2012"}
    assert single.tags["dagster/asset_partition_range_start"] == "2013"
    assert single.tags["dagster/asset_partition_range_end"] == "2014"
    assert home.years() == [str(year) for year in range(2008, 2015)]
