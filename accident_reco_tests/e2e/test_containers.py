"""Containers without an engine: every service of compose whose program is available here starts by its own command, as
its own user, on read-only files, in compose's order; passes its health check, and fulfils its main function."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from accident_reco.launch.stack_config import DEPLOY
from accident_reco_tests.support.engine import Engine, missing
from accident_reco_tests.support.images import dockerfile
from accident_reco_tests.support.outside import CHECKS, Stack
from accident_reco_tests.support.running import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
MEMORY = Path("/dev/shm")
"""Folder of volumes and tools: thousands of temporary files."""
UNAVAILABLE = {"alloy", "grafana", "loki"}
"""Servers without a package on PyPI, Debian or npm."""
LEVELS = {"debug", "info", "warning", "error", "critical"}
SERVICES = [
    name
    for name in yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]
    if name not in UNAVAILABLE
]
SETTINGS = """
ACCIDENT_RECO_ACCIDENTS_SAMPLE_YEARS=2022
ACCIDENT_RECO_ACCIDENTS_SAMPLE_PEOPLE=100
ACCIDENT_RECO_MOVIES_SOURCE=/nowhere
ACCIDENT_RECO_RETRAIN_MODE=off
ACCIDENT_RECO_LOOP_SECONDS=3600
"""


@pytest.fixture(scope="module")
def dvc() -> Iterator[Path]:
    """DVC as built by the instruction of our Dockerfile."""
    with _built("/opt/dvc") as made:
        subprocess.run([made / "bin" / "dvc", "version"], check=True, capture_output=True)  # compiles its modules
        yield made


@pytest.fixture(scope="module")
def package() -> Iterator[Path]:
    """The package as built by the instruction of our Dockerfile, with the metadata that its models are found by."""
    with _built("/opt/package") as made:
        yield made


@contextmanager
def _built(target: str) -> Iterator[Path]:
    """The folder that an instruction of our Dockerfile makes, in another place."""
    if reason := missing():
        pytest.skip(reason)
    (line,) = [line for line in dockerfile().splitlines() if line.startswith("RUN ") and target in line]
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        Path(folder).chmod(0o755)
        made = Path(folder) / Path(target).name
        command = line.removeprefix("RUN ").replace(target, str(made))
        environ = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(["sh", "-c", command], cwd=ROOT, env=environ, capture_output=True)
        assert done.returncode == 0, done.stderr
        yield made


@pytest.fixture(scope="module")
def stack(dvc: Path, package: Path) -> Iterator[Stack]:
    """All of compose, `--profile distributed` included, from a copy of deploy/ with fresh secrets."""
    folder = Path(tempfile.mkdtemp(prefix="accident-reco-compose-", dir=MEMORY))
    folder.chmod(0o755)  # pytest's own folders are closed to other users
    compose = folder / "deploy" / "compose"
    shutil.copytree(DEPLOY, folder / "deploy", ignore=shutil.ignore_patterns("secrets", "settings.env"))
    subprocess.run(["sh", str(compose / "make-secrets.sh")], check=True)
    with (compose / "settings.env").open("a") as settings:
        settings.write(SETTINGS)
    (folder / "run").mkdir()
    environ = {"ACCIDENT_RECO_BROKER_URL_FILE": "/run/secrets/broker_url"}
    engine = Engine(compose / "compose.yaml", folder / "run", environ, {"/opt/dvc": dvc, "/app/package": package})
    try:
        engine.up(SERVICES, 180)
        made = Stack(engine)
        made.send_alert()
        yield made
    finally:
        engine.stop()
        shutil.rmtree(folder)


ORDER = sorted({*SERVICES, *CHECKS}, key=[*CHECKS, *SERVICES].index)


@pytest.mark.parametrize("service", [name for name in ORDER if name != "prepare"])
def test_service_becomes_healthy(stack: Stack, service: str) -> None:
    """By compose's health check, or the image's."""
    seconds = time.monotonic() + 120
    while not stack.engine.healthy(service):
        assert time.monotonic() < seconds, stack.log(service)
        time.sleep(1)  # each check starts a Python program


@pytest.mark.parametrize("service", ORDER)
def test_service_fulfils_its_function(stack: Stack, service: str) -> None:
    """Checked from outside; a service without a check fails."""
    CHECKS[service](stack)


@pytest.mark.parametrize("service", SERVICES)
def test_lines_arrive_in_loki_with_service_level_and_time(stack: Stack, service: str) -> None:
    """Every line of every program after Alloy's rules; those of the platform's programs are JSON."""
    entries = stack.entries(service)
    assert {level for entry in entries for level in [entry.labels["level"]]} <= LEVELS
    for entry in entries:
        assert entry.labels["service"] == service
        assert entry.metadata["container"] == f"accident-reco-{service}-1"
    if service in ("code", "dagster", "daemon", "worker", "auth", "predict", "drift", "console"):
        assert entries
        assert all(entry.line.startswith("{") and entry.timestamp for entry in entries), stack.log(service)


def test_rejected_login_is_an_error_of_postgres(stack: Stack) -> None:
    """A line of a third-party server has the level of its own format."""
    errors = [entry.line for entry in stack.entries("postgres") if entry.labels["level"] == "error"]
    assert any("password authentication failed" in line for line in errors), stack.log("postgres")


def test_inputs_of_a_version_are_versioned_by_dvc(stack: Stack) -> None:
    """By one setting, git and DVC of the image store them on the container's volume and push them to S3."""
    code = """
from accident_reco.lifecycle.dataset import Datasets
from accident_reco.settings import Settings
kept = Datasets(Settings.load()).keep("movies", "v1", lambda folder: folder.joinpath("ratings").write_text("1;2;5"))
print(kept.problem or f"{kept.remote} {kept.files}")
"""
    command = ["env", "ACCIDENT_RECO_DVC_REMOTE=s3://artifacts/dvc", "python", "-c", code]
    done = stack.engine.execute("code", command, 180)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "s3://artifacts/dvc 1\n"


def test_container_is_restricted_as_in_compose(stack: Stack) -> None:
    """Its own user, no capability, files only in its volumes and in memory; only its own secrets."""
    code = "import os, re; print(os.getuid(), re.search(r'CapBnd:\\s+(\\w+)', open('/proc/self/status').read())[1])"
    assert stack.python("predict", code).split() == ["10001", "0" * 16]
    assert stack.engine.execute("predict", ["touch", "/app/here"]).returncode != 0
    assert stack.engine.execute("predict", ["touch", "/data/here", "/tmp/here"]).returncode == 0
    kept = stack.engine.execute("predict", ["ls", "/run/secrets"]).stdout.split()
    assert sorted(kept) == ["s3_credentials", "services_database_url"]


def test_containers_stop_on_their_signal(stack: Stack) -> None:
    """The first process of each ends on its signal within compose's grace period: none is killed."""
    assert stack.engine.stop_gently() == {}
