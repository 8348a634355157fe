"""Partitioned jobs on two Celery workers over Redis, PostgreSQL and S3: runs survive a killed worker, a queue without a
worker fails its run, a step that kills its workers is given up after three attempts."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import dagster as dg
import pytest

from accident_reco.defs.io import read_frame
from accident_reco.launch.home import child_environment, prepare_home
from accident_reco.launch.processes import Children, free_port
from accident_reco.lifecycle.gate import GatePolicy
from accident_reco.lifecycle.promotion import promote
from accident_reco.lifecycle.store import ModelStore
from accident_reco.models.accidents.assets.partitions import register_years
from accident_reco.models.accidents.assets.scoring import scored_key
from accident_reco.models.accidents.data.raw_store import load_frame
from accident_reco.models.accidents.sample import sample_year
from accident_reco.settings import Settings, variable
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.e2e.conftest import S3, Postgres
from accident_reco_tests.support.live import wait_for
from accident_reco_tests.support.real_accidents import real_bundle
from accident_reco_tests.support.redis import start_redis
from accident_reco_tests.support.running import ROOT
from accident_reco_tests.support.web import Site, body, serve

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
BIN = Path(sys.executable).parent
YEARS = (2021, 2022, 2023, 2024)
INGEST, STEP = "ingest_accidents", "accident_years"


@dataclass
class Gate:
    """Holds requests for a file of a year until it is opened."""

    waiting: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)
    requests: int = 0

    def hold(self, site: Site, year: int) -> None:
        path = next(path for path in site.answers if f"usagers-{year}" in path)
        passed = site.answers[path]

        def answer(request: BaseHTTPRequestHandler) -> None:
            self.requests += 1
            self.waiting.set()
            while not self.opened.wait(0.1) and not site.stop.is_set():
                pass
            passed(request)

        site.answers[path] = answer


class Distributed:
    """A platform on PostgreSQL and S3 whose partitioned jobs run on workers."""

    def __init__(self, home: Path, postgres: Postgres, s3: S3, children: Children, site: Site) -> None:
        password, port = secrets.token_hex(8), free_port()
        children.await_ready({"redis": start_redis(children, home / "redis", port, password)}, 20)
        overrides = {
            "home": home,
            "database_url": postgres.new_database(),
            "dagster_database_url": postgres.new_database(),
            "store_url": f"s3://artifacts/workers-{secrets.token_hex(4)}",
            "accidents_source": site.url("/baac"),
            "broker_url": f"redis://:{password}@127.0.0.1:{port}/0",
            "broker_redelivery_seconds": 5,
            "broker_patience_seconds": 4,
        }
        self.settings = Settings.load(**overrides)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in s3.environ.items():
                patch.setenv(name, value)
            prepare_home(self.settings)  # claims the store
        variables = {variable(name): str(value) for name, value in overrides.items()}
        environ = {**os.environ, **s3.environ, **variables, "PYTHONPATH": str(ROOT)}
        self.environ = child_environment(self.settings, environ)
        self.children = Children(self.environ, self.settings.logs)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(variable("dagster_database_url"), self.settings.dagster_database_url)
            self.instance = dg.DagsterInstance.from_config(str(self.settings.dagster_home))
        register_years(self.instance, YEARS)

    def start_worker(self) -> None:
        self.children.start("worker", [sys.executable, "-m", "accident_reco.launch.dagster_process", "worker"])

    def launch(self, job: str, year: int) -> subprocess.Popen[str]:
        """Start a run; its process submits steps and waits for them."""
        tags = json.dumps({"dagster/partition": str(year)})
        command = [str(BIN / "dagster"), "job", "execute", "-m", "accident_reco.definitions", "-j", job, "--tags", tags]
        return subprocess.Popen(
            command, env=self.environ, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, job: str, year: int) -> dg.DagsterRun:
        (run,) = self.instance.get_runs(dg.RunsFilter(job_name=job, tags={"dagster/partition": str(year)}))
        return run

    def started_by(self, job: str, year: int, step: str) -> list[int]:
        """Process ids of the workers that started a step, in order, from their names."""
        logged = self.instance.get_records_for_run(self.run(job, year).run_id).records
        entries = [record.event_log_entry for record in logged if record.event_log_entry.step_key == step]
        details = [
            entry.dagster_event.engine_event_data.metadata
            for entry in entries
            if entry.dagster_event and entry.dagster_event.is_engine_event
        ]
        names = [metadata["Celery worker"].value for metadata in details if "Celery worker" in metadata]
        return [int(str(name).removeprefix("worker-").split("@")[0]) for name in names]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serve() as running:
        files = [file for year in YEARS for file in sample_year(year, 150).values()]
        links = "".join(f'<a href="{file.name}">{file.name}</a>' for file in files)
        running.answers["/baac/"] = body(links.encode(), kind="text/html")
        running.answers |= {f"/baac/{file.name}": body(file.data) for file in files}
        yield running


@pytest.fixture(scope="module")
def distributed(
    postgres: Postgres, s3_server: S3, children: Children, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Distributed]:
    made = Distributed(tmp_path_factory.mktemp("distributed"), postgres, s3_server, children, site)
    yield made
    made.children.stop()
    made.instance.dispose()
    children.kill("redis")


def _wait(run: subprocess.Popen[str], code: int = 0) -> str:
    output, _ = run.communicate(timeout=240)
    assert run.returncode == code, output
    return output


def test_queue_without_a_worker_fails_its_run(distributed: Distributed) -> None:
    """After the time of the setting, by a message with the fix."""
    output = _wait(distributed.launch(INGEST, 2024), code=1)
    assert "the queue 'dagster' has had no worker for 4 s; fix:" in output
    assert distributed.run(INGEST, 2024).status == dg.DagsterRunStatus.FAILURE


@pytest.fixture(scope="module")
def workers(distributed: Distributed) -> Distributed:
    """The platform with two workers."""
    distributed.start_worker()
    distributed.start_worker()
    return distributed


@pytest.mark.usefixtures("s3")
def test_runs_survive_a_killed_worker(workers: Distributed, site: Site) -> None:
    """Two runs on two workers; SIGKILL to all processes of the one in a step; both runs succeed. The step of the run
    that failed without a worker is not started any more."""
    gate = Gate()
    gate.hold(site, 2022)
    held, free = workers.launch(INGEST, 2022), workers.launch(INGEST, 2023)
    wait_for(gate.waiting.is_set, 120)
    _wait(free)  # by the other worker, while the first is held for longer than the redelivery time
    (victim,) = workers.started_by(INGEST, 2022, STEP)
    assert victim not in workers.started_by(INGEST, 2023, STEP)
    os.killpg(victim, signal.SIGKILL)
    gate.opened.set()
    _wait(held)
    first, second = workers.started_by(INGEST, 2022, STEP)
    assert first == victim != second
    store = open_store(workers.settings.store)
    assert [len(load_frame(store, "victims", year)) > 100 for year in (2022, 2023)] == [True, True]

    promote_a_model(workers.settings)
    _wait(workers.launch("score_accidents", 2022))
    scored = read_frame(store, scored_key("accidents"), "2022")
    assert len(scored) == len(load_frame(store, "victims", 2022))
    assert workers.started_by("score_accidents", 2022, "scored_victims") == [second]
    assert workers.started_by(INGEST, 2024, STEP) == [], "the run had failed"


def test_step_that_kills_its_workers_is_given_up(workers: Distributed, site: Site) -> None:
    """The step of a worker's child that dies (out of memory) is redelivered at once, up to the third attempt."""
    gate = Gate()
    gate.hold(site, 2021)
    run = workers.launch(INGEST, 2021)
    for time in (1, 2, 3):
        wait_for(lambda time=time: gate.requests >= time, 120)
        parent = workers.started_by(INGEST, 2021, STEP)[-1]
        (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
    output = _wait(run, code=1)
    gate.opened.set()
    assert f"{STEP} was started 3 times and never finished" in output


def promote_a_model(settings: Settings) -> None:
    """Promote a champion for scoring."""
    warehouse = Warehouse(settings.database)
    promote(
        ModelStore(open_store(settings.store)),
        warehouse,
        real_bundle(rounds=5, rows=400),
        lambda *_: None,
        GatePolicy("roc_auc", True, 0.1, 0.0),
        "r",
    )
    warehouse.close()
