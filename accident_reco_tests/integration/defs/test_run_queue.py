"""Dagster's queue with the platform's configuration, a real web server and daemon: trainings wait, rollbacks do not."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import dagster as dg
import httpx
import pytest

from accident_reco.defs.resources import Platform
from accident_reco.defs.steps import NICE, lower_priority
from accident_reco.defs.tags import URGENT
from accident_reco.launch.home import child_environment, prepare_home
from accident_reco.launch.processes import Children, free_port
from accident_reco.launch.programs import script
from accident_reco_tests.support.promotion import promote_candidate
from accident_reco_tests.support.queue_location import GATE
from accident_reco_tests.support.running import ROOT

LOCATION = "accident_reco_tests.support.queue_location"
SECONDS = 120.0
CONCURRENT_RUNS = 2
"""Limit of dagster.yaml."""
LAUNCH = """mutation($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) { __typename ... on LaunchRunSuccess { run { runId } } }
}"""
HERE = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__"}
Launch = Callable[..., str]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[BinaryIO]:
    """A named pipe: each byte written lets one training end. Open for both ends, so that opening never blocks."""
    os.mkfifo(tmp_path / "gate")
    with (tmp_path / "gate").open("r+b", buffering=0) as both:
        yield both


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """A prepared home."""
    monkeypatch.setenv("ACCIDENT_RECO_DAGSTER_PORT", str(free_port()))
    made = Platform(home=str(tmp_path / "home"))
    prepare_home(made.settings)
    yield made
    made.warehouse.close()


@pytest.fixture
def dagster(platform: Platform, gate: BinaryIO) -> Iterator[Children]:
    """Code server, web server and daemon with the platform's configuration."""
    environ = child_environment(platform.settings, {**os.environ, GATE: gate.name, "PYTHONPATH": str(ROOT)})
    with dg.DagsterInstance.from_config(str(platform.settings.dagster_home)) as instance:
        instance.upgrade()
    children = Children(environ, platform.settings.logs)
    code = free_port()
    workspace = platform.settings.home / "workspace.yaml"
    workspace.write_text(f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {code}, location_name: {LOCATION}}}\n")
    web = ("-h", "127.0.0.1", "-p", str(platform.settings.dagster_port), "-w", str(workspace))
    try:
        children.start(
            "code", [sys.executable, "-m", "accident_reco.defs.code_server", "-p", str(code), "-m", LOCATION]
        )
        children.start("web", [script("dagster-webserver"), *web])
        children.start("daemon", [script("dagster-daemon"), "run", "-w", str(workspace)])
        children.await_ready({"web": f"http://127.0.0.1:{platform.settings.dagster_port}/server_info"}, SECONDS)
        yield children
    finally:
        children.stop()


@pytest.fixture
def launch(platform: Platform, dagster: Children) -> Iterator[Launch]:
    """Launches a job as the launchpad in Dagster's UI; returns the run id."""
    with httpx.Client(base_url=f"http://127.0.0.1:{platform.settings.dagster_port}", timeout=60) as client:

        def launch_job(job: str, config: Any = None) -> str:
            dagster.check()
            parameters = {"selector": HERE | {"jobName": job}, "runConfigData": config or {}, "mode": "default"}
            answer = client.post("/graphql", json={"query": LAUNCH, "variables": {"parameters": parameters}}).json()
            assert answer["data"]["launchRun"]["__typename"] == "LaunchRunSuccess", answer
            return str(answer["data"]["launchRun"]["run"]["runId"])

        yield launch_job


@pytest.mark.timeout(400)
def test_rollback_waits_for_no_training(platform: Platform, dagster: Children, launch: Launch, gate: BinaryIO) -> None:
    """Two trainings run and a third is queued; a rollback runs meanwhile, another one without the daemon.

    Trainings of one pool run one after the other.
    """
    first, second = promote_candidate(platform, 11), promote_candidate(platform, 12)
    dagster_home = str(platform.settings.dagster_home)
    with dg.DagsterInstance.from_config(dagster_home) as instance:

        def status(run_id: str) -> str:
            run = instance.get_run_by_id(run_id)
            assert run is not None
            return run.status.value

        def until(condition: Callable[[], bool]) -> None:
            deadline = time.monotonic() + SECONDS
            while not condition():
                assert time.monotonic() < deadline, {run.job_name: run.status for run in instance.get_runs()}
                threading.Event().wait(0.1)

        def roll_back(to: str) -> None:
            config = {"model": "accidents", "version": to}
            launch("rollback_model", {"ops": {"roll_back_pointer": {"config": config}}})
            until(lambda: platform.models.pointer("accidents").version == to)

        trainings = [launch("training") for _ in range(CONCURRENT_RUNS + 1)]
        until(lambda: [status(run) for run in trainings].count("STARTED") == CONCURRENT_RUNS)

        roll_back(first)
        assert sorted(status(run) for run in trainings) == ["QUEUED", "STARTED", "STARTED"]
        until(lambda: f"nice {NICE}" in {event.user_message for event in instance.all_logs(trainings[0])})

        # The third starts when one of the two has ended.
        gate.write(b"1")
        until(lambda: all(status(run) in ("STARTED", "SUCCESS") for run in trainings))
        assert sorted(status(run) for run in trainings) == ["STARTED", "STARTED", "SUCCESS"]
        gate.write(b"23")
        until(lambda: all(status(run) == "SUCCESS" for run in trainings))

        # Of one pool a single run, although the queue has room: a run behind the waiting one passes it.
        pooled = [launch("pooled_training") for _ in range(2)]
        until(lambda: "STARTED" in map(status, pooled))
        other = launch("training")
        until(lambda: status(other) == "STARTED")
        assert sorted(map(status, pooled)) == ["QUEUED", "STARTED"]
        gate.write(b"456")
        until(lambda: all(status(run) == "SUCCESS" for run in (*pooled, other)))

        dagster.end("daemon")
        roll_back(second)


@pytest.mark.parametrize(
    ("run", "made_for_a_run", "nice"),
    [
        (dg.DagsterRun("training"), True, [NICE]),
        (dg.DagsterRun("rollback_model", tags=URGENT), True, []),
        (None, True, []),  # a sensor
        (dg.DagsterRun("training"), False, []),  # not a process of a run
    ],
)
def test_which_processes_lower_their_priority(
    monkeypatch, run: dg.DagsterRun | None, made_for_a_run: bool, nice: list[int]
) -> None:
    """Those of runs that are not urgent; never the code server, a command line or a test."""
    priorities: list[int] = []
    monkeypatch.setattr("multiprocessing.parent_process", lambda: object() if made_for_a_run else None)
    monkeypatch.setattr("os.setpriority", lambda _which, _who, priority: priorities.append(priority))
    lower_priority(run)
    assert priorities == nice
