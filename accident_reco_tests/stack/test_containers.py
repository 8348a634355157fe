"""Containers without an engine: each Dagster program starts natively by the very command of compose, passes the very
health check of compose, and writes what Alloy's rules make labelled lines of; the others know their flags."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from accident_reco.launch import stack_servers as servers
from accident_reco.launch.home import child_environment, prepare_home
from accident_reco.launch.processes import Children, free_port
from accident_reco.launch.stack_config import DEPLOY
from accident_reco.settings import Settings, variable
from accident_reco_tests.running import ROOT
from accident_reco_tests.serving.live import wait_for
from accident_reco_tests.stack.conftest import S3, Postgres

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
SERVICES: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
ALLOY = (DEPLOY / "loki" / "alloy.alloy").read_text()
BIN = Path(sys.executable).parent


@dataclass
class Containers:
    """Dagster's four containers as processes: compose's commands, ports of this machine."""

    settings: Settings
    children: Children
    ports: dict[str, str]

    def start(self, service: str) -> None:
        words = list(SERVICES[service]["command"])
        assert words.pop(0) == "python"
        here = ["--code-host", "127.0.0.1", "--code-port", self.ports["4000"]]
        self.children.start(service, [sys.executable, *words, *here])

    def healthy(self, service: str) -> bool:
        """What compose asks of the container."""
        kind, *words = SERVICES[service]["healthcheck"]["test"]
        assert kind == "CMD"
        program = sys.executable if words[0] == "python" else str(BIN / words[0])
        asked = [re.sub(r"\b(4000|8080|9400)\b", lambda found: self.ports[found[0]], word) for word in words[1:]]
        done = subprocess.run([program, *asked], env=dict(self.children.environ), capture_output=True, timeout=60)
        self.children.check()
        return done.returncode == 0


@pytest.fixture(scope="module")
def containers(postgres: Postgres, s3_server: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    ports = {name: str(free_port()) for name in ("4000", "8080", "9400")}
    chosen = {
        "home": tmp_path_factory.mktemp("containers"), "database_url": postgres.new_database(),
        "dagster_database_url": postgres.new_database(), "store_url": "s3://artifacts/containers",
        "accidents_sample_years": "2022", "accidents_sample_people": 100, "dagster_port": ports["8080"],
        "exporter_port": ports["9400"], "movies_source": "/nowhere",
        "retrain_mode": "off", "loop_seconds": 3600,
    }  # fmt: skip
    settings = Settings.load(**chosen)
    prepare_home(settings)
    stated = {variable(name): str(value) for name, value in chosen.items()}
    environ = child_environment(settings, {**os.environ, **s3_server.environ, **stated, "PYTHONPATH": str(ROOT)})
    made = Containers(settings, Children(environ, settings.logs), ports)
    try:
        for service in ("code", "dagster", "daemon", "exporter"):
            made.start(service)
            if service == "code":
                wait_for(lambda: made.healthy("code"), 120)
        yield made
    finally:
        made.children.stop()


@pytest.mark.parametrize("service", ["code", "dagster", "daemon", "exporter"])
def test_it_starts_and_is_healthy(containers: Containers, service: str) -> None:
    """By compose's own command and health check."""
    wait_for(lambda: containers.healthy(service), 120)


def test_what_a_run_logs_reaches_loki_as_labelled_lines(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that a sensor asks for (there is a year to ingest) writes JSON with level, time and run id to the
    code server's output; Alloy's rules drop Dagster's text beside it and leave nothing that is no JSON."""
    monkeypatch.setenv(variable("dagster_database_url"), containers.settings.dagster_database_url)
    good = dg.RunsFilter(job_name="ingest_accidents", statuses=[dg.DagsterRunStatus.SUCCESS])
    with dg.DagsterInstance.from_config(str(containers.settings.dagster_home)) as instance:
        wait_for(lambda: instance.get_runs(good), 180)
        run_id = instance.get_runs(good)[0].run_id
    code = containers.children.started[0]
    entries = _as_alloy(code.log.read_text())
    assert all(entry is not None for entry in entries), code.log.read_text()
    of_run = [entry for entry in entries if entry and entry.get("run_id") == run_id]
    assert {"info"} <= {entry["level"] for entry in of_run}
    assert any("2022" in entry["event"] for entry in of_run), of_run
    assert all(entry["timestamp"] for entry in of_run)


def _as_alloy(output: str) -> list[dict[str, str] | None]:
    """What the stages of the configuration make of a container's output: extracted fields, None for what is no JSON."""
    (first,) = re.findall(r"firstline\s+= `(.+)`", ALLOY)
    (dropped,) = re.findall(r"expression = `(.+)`", ALLOY)
    (fields,) = re.findall(r"expressions = \{(.+?)\}", ALLOY, re.DOTALL)
    wanted = dict(re.findall(r'(\w+)\s+= "(\w+)"', fields))
    blocks: list[str] = []
    for line in output.splitlines():
        if re.match(first, line) or not blocks:
            blocks.append(line)
        else:
            blocks[-1] += "\n" + line
    made: list[dict[str, str] | None] = []
    for block in blocks:
        if re.match(dropped, block):
            continue
        try:
            said = json.loads(block)
        except json.JSONDecodeError:
            made.append(None)
            continue
        made.append({name: str(said[key]) for name, key in wanted.items() if key in said} | {"event": said["event"]})
    return made


NATIVE = {
    "prometheus": ("prometheus", "--help"),
    "alertmanager": ("prometheus-alertmanager", "--help"),
    "postgres-exporter": ("prometheus-postgres-exporter", "--help"),
    "node-exporter": ("prometheus-node-exporter", "--help"),
    "s3": (str(BIN / "weed"), "mini", "-h"),
    "mlflow": (str(BIN / "mlflow"), "server", "--help"),
}


@pytest.mark.parametrize("service", NATIVE)
def test_its_flags_are_known(service: str) -> None:
    """Each flag of a command of compose is one that the program itself lists."""
    words = SERVICES[service]["command"]
    command = words[-1] if words[0] == "sh" else " ".join(words)
    flags = set(re.findall(r"(?<!\S)(--?[a-z][\w.-]*)", command))
    program, *asked = NATIVE[service]
    done = subprocess.run(
        [servers.debian(program), *asked], capture_output=True, text=True, check=False, timeout=60,
        env=dict(os.environ) | {"MLFLOW_DISABLE_TELEMETRY": "true", "COLUMNS": "200"},
    )  # fmt: skip
    known = set(re.findall(r"--?(?:\[no-\])?[a-z][\w.-]*", done.stdout + done.stderr))
    assert flags
    assert flags <= known | {flag.replace("--[no-]", "--") for flag in known}, flags - known


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
        "discovery.docker", "discovery.relabel", "loki.source.docker", "loki.process", "loki.write",
    }  # fmt: skip
    named = set(re.findall(r"= \[?((?:discovery|loki)\.[a-z_.]+)\.(\w+)\.(?:targets|output|receiver)", ALLOY))
    assert named <= declared
    assert len(named) >= 3
    stages = re.findall(r"^  stage\.(\w+) \{", ALLOY, re.MULTILINE)
    assert stages == ["multiline", "drop", "json", "template", "labels", "structured_metadata", "timestamp"]
