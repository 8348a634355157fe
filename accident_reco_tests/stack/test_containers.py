"""Containers without an engine: every service of compose whose program can be had here starts by its own command, as
its own user, on read-only files, in compose's order; passes its own health check, and gives one real answer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from accident_reco.launch.stack_config import DEPLOY
from accident_reco_tests.running import ROOT
from accident_reco_tests.stack.engine import Engine, missing
from accident_reco_tests.stack.images import dockerfile
from accident_reco_tests.stack.outside import ALLOY, ANSWERS, Stack, as_alloy

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
MEMORY = Path("/dev/shm")
"""Where volumes and tools lie: thousands of files that nobody keeps."""
NOT_HERE = {"alloy", "grafana", "loki"}
"""Nobody packages these servers for PyPI, Debian or npm."""
SERVICES = [
    name for name in yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"] if name not in NOT_HERE
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
    """DVC as the instruction of our Dockerfile makes it, elsewhere."""
    if reason := missing():
        pytest.skip(reason)
    (line,) = [line for line in dockerfile().splitlines() if line.startswith("RUN ") and "/opt/dvc" in line]
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        Path(folder).chmod(0o755)
        made = Path(folder) / "dvc"
        command = line.removeprefix("RUN ").replace("/opt/dvc", str(made))
        environ = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(["sh", "-c", command], cwd=ROOT, env=environ, capture_output=True)
        assert done.returncode == 0, done.stderr
        subprocess.run([made / "bin" / "dvc", "version"], check=True, capture_output=True)  # compiles what it imports
        yield made


@pytest.fixture(scope="module")
def stack(dvc: Path) -> Iterator[Stack]:
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
    engine = Engine(compose / "compose.yaml", folder / "run", environ, {"/opt/dvc": dvc})
    try:
        engine.up(SERVICES, 180)
        made = Stack(engine)
        made.send_alert()
        yield made
    finally:
        engine.stop()
        shutil.rmtree(folder)


ORDER = sorted({*SERVICES, *ANSWERS}, key=[*ANSWERS, *SERVICES].index)


@pytest.mark.parametrize("service", [name for name in ORDER if name != "prepare"])
def test_it_becomes_healthy(stack: Stack, service: str) -> None:
    """By compose's own health check, or the image's."""
    seconds = time.monotonic() + 120
    while not stack.engine.healthy(service):
        assert time.monotonic() < seconds, stack.log(service)
        time.sleep(1)  # each time is a Python program of its own


@pytest.mark.parametrize("service", ORDER)
def test_it_does_its_work(stack: Stack, service: str) -> None:
    """One thing that it is there for, asked from outside; a service that is added without a question here fails."""
    ANSWERS[service](stack)


@pytest.mark.parametrize("service", ["code", "dagster", "daemon", "worker", "auth", "predict", "drift"])
def test_what_it_logs_are_labelled_lines_in_loki(stack: Stack, service: str) -> None:
    """JSON with a level: Alloy's rules drop Dagster's text beside it and leave nothing that is no JSON."""
    entries = as_alloy(stack.log(service))
    assert entries
    assert all(entry is not None for entry in entries), stack.log(service)
    assert all(entry["level"] and entry["timestamp"] for entry in entries if entry)


def test_alloys_components_fit_together() -> None:
    """Braces close; every component that another one names is there, and every stage is one that Alloy has."""
    plain = re.sub(r"`[^`]*`|\"[^\"]*\"|//[^\n]*", '""', ALLOY)
    depth = 0
    for character in plain:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    declared = set(re.findall(r'^([a-z_.]+) "(\w+)" \{', ALLOY, re.MULTILINE))
    assert {kind for kind, _ in declared} == {
        "discovery.docker",
        "discovery.relabel",
        "loki.source.docker",
        "loki.process",
        "loki.write",
    }
    named = set(re.findall(r"= \[?((?:discovery|loki)\.[a-z_.]+)\.(\w+)\.(?:targets|output|receiver)", ALLOY))
    assert named <= declared
    assert len(named) >= 3
    stages = re.findall(r"^  stage\.(\w+) \{", ALLOY, re.MULTILINE)
    assert stages == ["multiline", "drop", "json", "template", "labels", "structured_metadata", "timestamp"]


def test_inputs_of_a_version_are_kept_by_dvc(stack: Stack) -> None:
    """One setting, and git and DVC of the image keep them on the container's volume and push them to S3."""
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


def test_a_container_is_as_narrow_as_compose_says(stack: Stack) -> None:
    """No user but its own, no capability, no file but in its volumes and in memory; secrets of nobody else."""
    look = "import os, re; print(os.getuid(), re.search(r'CapBnd:\\s+(\\w+)', open('/proc/self/status').read())[1])"
    assert stack.python("predict", look).split() == ["10001", "0" * 16]
    assert stack.engine.execute("predict", ["touch", "/app/here"]).returncode != 0
    assert stack.engine.execute("predict", ["touch", "/data/here", "/tmp/here"]).returncode == 0
    kept = stack.engine.execute("predict", ["ls", "/run/secrets"]).stdout.split()
    assert sorted(kept) == ["s3_credentials", "services_database_url"]


def test_they_end_when_they_are_asked(stack: Stack) -> None:
    """The first process of each hears the signal and ends in the time that compose grants: nothing is killed."""
    assert stack.engine.stop_gently() == {}
