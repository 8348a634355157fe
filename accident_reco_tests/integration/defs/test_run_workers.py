"""Runs whose process is gone: real processes and a real code server that is killed with its run."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from accident_reco.defs.dagster_internals import GRPC_INFO_TAG, WILL_RETRY_TAG
from accident_reco.defs.failures import describe_failure
from accident_reco.defs.run_launcher import RunLauncher
from accident_reco.defs.run_workers import LOST, definitions, fail_lost_runs, fail_lost_starts, is_worker_alive
from accident_reco.launch.home import child_environment, prepare_home
from accident_reco.launch.processes import Children, free_port
from accident_reco.launch.programs import script
from accident_reco.settings import Settings
from accident_reco_tests.support.dagster_api import launch
from accident_reco_tests.support.queue_location import GATE
from accident_reco_tests.support.running import ROOT

LOCATION = "accident_reco_tests.support.queue_location"
HERE = {"host": "127.0.0.1", "port": 1}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def process() -> Iterator[subprocess.Popen]:
    """A process that waits until its input is closed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as made:
        yield made
        made.kill()


@dg.op
def nothing() -> None:
    """Does nothing."""


@dg.job
def idle() -> None:
    """Runs `nothing`."""
    nothing()


def started(instance: dg.DagsterInstance, pid: int | None, server: dict | None = HERE) -> dg.DagsterRun:
    """A run that is STARTED in the process `pid`, as a code server records it."""
    tags = {GRPC_INFO_TAG: json.dumps(server)} if server else {}
    run = instance.create_run_for_job(idle, status=dg.DagsterRunStatus.STARTED, tags=tags)
    if pid is not None:
        instance.report_engine_event(f"Started process for run (pid: {pid}).", run, EngineEventData.in_process(pid))
    return run


def test_a_run_lives_as_long_as_its_process(instance: dg.DagsterInstance, process: subprocess.Popen) -> None:
    """Also as a zombie, whose parent has not read its end, it is gone."""
    run = started(instance, process.pid)
    assert is_worker_alive(instance, run) is True
    assert fail_lost_runs(instance) == []
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_worker_alive(instance, run) is False
    process.wait()
    assert is_worker_alive(instance, run) is False
    assert fail_lost_runs(instance) == [run.run_id]
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status == dg.DagsterRunStatus.FAILURE


def test_a_later_process_with_the_same_id_is_another_one(
    instance: dg.DagsterInstance, process: subprocess.Popen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart of the machine its ids begin again."""
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now - 60)
    run = started(instance, process.pid)
    monkeypatch.undo()
    assert is_worker_alive(instance, run) is False


def test_what_cannot_be_known_is_left_alone(instance: dg.DagsterInstance) -> None:
    """No process recorded yet; a run of an unknown machine; a code server elsewhere that is away."""
    unknown = [
        started(instance, None),
        started(instance, 2**22 + 1, server=None),
        started(instance, 2**22 + 1, server={"host": "127.0.0.2", "port": free_port()}),
    ]
    assert [is_worker_alive(instance, run) for run in unknown] == [None, None, None]
    assert is_worker_alive(instance, unknown[1], untagged_is_local=True) is False
    assert fail_lost_runs(instance) == [unknown[1].run_id]


def test_a_run_that_was_starting_when_its_code_server_was_killed_is_lost(
    instance: dg.DagsterInstance, process: subprocess.Popen
) -> None:
    """Launched before this server started, without a process, or with one that is gone. Others are left alone."""

    def starting(pid: int | None, server: dict | None = HERE) -> str:
        tags = {GRPC_INFO_TAG: json.dumps(server)} if server else {}
        run = instance.create_run_for_job(idle, status=dg.DagsterRunStatus.STARTING, tags=tags)
        if pid is not None:
            instance.report_engine_event("Started process for run", run, EngineEventData.in_process(pid))
        return run.run_id

    lost = [starting(None), starting(2**22 + 1)]
    alive, elsewhere = starting(process.pid), starting(None, server=None)
    assert fail_lost_starts(instance, time.time() - 60) == [], "this server may still start them"
    assert sorted(fail_lost_starts(instance, time.time() + 1)) == sorted(lost)
    statuses = {run.run_id: run.status for run in instance.get_runs()}
    assert {statuses[run_id] for run_id in lost} == {dg.DagsterRunStatus.FAILURE}
    assert {statuses[run_id] for run_id in (alive, elsewhere)} == {dg.DagsterRunStatus.STARTING}


def test_the_sensor_takes_the_start_of_its_own_process(instance: dg.DagsterInstance) -> None:
    """A run that was launched since is not lost; the tick says what it found."""
    instance.create_run_for_job(idle, status=dg.DagsterRunStatus.STARTING, tags={GRPC_INFO_TAG: json.dumps(HERE)})
    (sensor,) = definitions().sensors or ()
    assert isinstance(sensor, dg.SensorDefinition)
    tick = sensor.evaluate_tick(dg.build_sensor_context(instance=instance))
    assert tick.skip_message == "no run was lost"


@pytest.mark.timeout(1200)
def test_runs_killed_with_the_platform_fail_and_are_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL of everything while a run is STARTED: restarted, the run fails by monitoring and its retry starts.

    A code server in another container is asked whether it executes a run: this one runs it, and after its restart at
    the same address it does not.
    """
    settings = Settings.load(home=tmp_path / "home", dagster_port=free_port())
    prepare_home(settings)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    environ = child_environment(settings, {**os.environ, GATE: str(gate), "PYTHONPATH": str(ROOT)})
    code = free_port()
    workspace = settings.home / "workspace.yaml"
    workspace.write_text(f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {code}, location_name: {LOCATION}}}\n")
    url = f"http://127.0.0.1:{settings.dagster_port}"
    children = Children(environ, settings.logs)

    def start() -> None:
        children.start(
            "code", [sys.executable, "-m", "accident_reco.defs.code_server", "-p", str(code), "-m", LOCATION]
        )
        web = ("-h", "127.0.0.1", "-p", str(settings.dagster_port), "-w", str(workspace))
        children.start("web", [script("dagster-webserver"), *web])
        children.start("daemon", [script("dagster-daemon"), "run", "-w", str(workspace)])
        children.await_ready({"web": f"{url}/server_info"}, 400)

    def until(condition: Callable[[], bool], seconds: float = 400.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            children.check()
            assert time.monotonic() < deadline, [(run.run_id, run.status) for run in instance.get_runs()]
            threading.Event().wait(0.1)

    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance, gate.open("r+b", buffering=0) as ends:
        instance.upgrade()
        assert isinstance(instance.run_launcher, RunLauncher)
        try:
            start()
            killed = launch(url, LOCATION, "training")
            until(lambda: _run(instance, killed).status == dg.DagsterRunStatus.STARTED)
            elsewhere = _run(instance, killed).with_tags(
                {GRPC_INFO_TAG: json.dumps({"host": "ipv4:127.0.0.1", "port": code})}
            )
            assert is_worker_alive(instance, elsewhere) is True
            for child in children.started:
                os.killpg(child.process.pid, signal.SIGKILL)
                child.process.wait()
            children.started.clear()
            start()
            until(lambda: _run(instance, killed).status == dg.DagsterRunStatus.FAILURE)
            assert is_worker_alive(instance, elsewhere) is False
            assert LOST in (describe_failure(instance, killed) or "")
            assert _run(instance, killed).tags[WILL_RETRY_TAG] == "true"
            until(lambda: len(instance.get_runs()) == 2)
            ends.write(b"1")
            until(lambda: instance.get_runs()[0].status == dg.DagsterRunStatus.SUCCESS)
            assert instance.get_runs()[0].parent_run_id == killed
        finally:
            children.stop()


def _run(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run
