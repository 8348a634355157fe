"""The built wheel in an empty environment and an empty folder: first start, status, training, rollback, logs, stop."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

from accident_reco_tests.support.running import ROOT, Running, environment
from accident_reco_tests.support.wheel import build_wheel, install_wheel

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

SMALL = {
    "ACCIDENT_RECO_MODELS": "movies",
    "ACCIDENT_RECO_MOVIES_SAMPLE_RATINGS": "6000",
    "ACCIDENT_RECO_RETRAIN_IN_ONE_PROCESS": "true",
    "ACCIDENT_RECO_LOOP_SECONDS": "2",
    "ACCIDENT_RECO_TRIGGER_SECONDS": "2",
}
WEAK = {"ACCIDENT_RECO_MOVIES_MAX_RATINGS": "1000"}
"""A first champion that a training on all ratings improves."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the installed programs."""
    return install_wheel(wheel, tmp_path_factory.mktemp("installed"))


class Folder:
    """An empty folder of a user, with the installed command."""

    def __init__(self, path: Path, program: Path) -> None:
        path.mkdir()
        self.path = path
        self.program = str(program)
        self.env = environment(path, **SMALL)
        for name in ("ACCIDENT_RECO_HOME", "PYTHONPATH", "VIRTUAL_ENV"):
            self.env.pop(name, None)

    def run(self, *arguments: str, exit_code: int = 0, **settings: str) -> str:
        """Run a command; returns its standard output."""
        done = subprocess.run(
            [self.program, *arguments],
            cwd=self.path,
            env=self.env | settings,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == exit_code, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def status(self, exit_code: int = 0) -> dict[str, Any]:
        return dict(json.loads(self.run("status", "--json", exit_code=exit_code)))


def test_from_an_empty_folder_to_a_rollback(programs: Path, tmp_path: Path) -> None:
    """Everything that the platform starts is in the wheel; its commands work on the running platform."""
    folder = Folder(tmp_path / "empty", programs / "accident-reco")
    folder.run("pipeline", **WEAK)
    before = folder.status(exit_code=4)
    (model,) = before["models"]
    assert (before["running"], before["services"], before["home"]) == (None, [], str(folder.path / ".accident_reco"))
    assert [run["job"] for run in reversed(before["runs"])][-2:] == ["train_movies", "report_movies_drift"]

    up = Running(folder.env, "up", command=[folder.program], folder=folder.path)
    try:
        up.await_text(r"ready after \d+ s", 120)
        services = folder.status()["services"]
        assert {service["name"]: service["ready"] for service in services} == dict.fromkeys(
            ("dagster", "auth", "predict", "drift", "console", "mlflow"), True
        )
        trained = json.loads(folder.run("train", "movies", "--json"))
        assert trained["status"] == "promoted"
        (improved,) = folder.status()["models"]
        assert improved["version"] != model["version"]
        moved = folder.run("rollback", "movies", "--reason", "a test of the wheel")
        versions = f"rolled back from {improved['version']} to {model['version']} by"
        assert re.fullmatch(rf"{versions} \S+ \(command line\): a test of the wheel\n", moved)
        lines = folder.run("logs", "predict", "--lines", "3").splitlines()
        assert 1 <= len(lines) <= 3
        assert all("event" in json.loads(line) for line in lines)
        assert re.fullmatch(r"stopped the platform of \S+, process \d+\n", folder.run("stop"))
        assert up.process.wait(10) == 0
        assert folder.status(exit_code=4)["models"][0]["version"] == model["version"]
        folder.run("stop", exit_code=4)
    finally:
        up.stop()


def test_the_code_is_that_of_the_wheel(programs: Path, tmp_path: Path) -> None:
    """The environment of these tests lends its dependencies, not its checkout."""
    code = "import accident_reco, serving; print(accident_reco.__file__, serving.__file__)"
    shown = subprocess.run([programs / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [Path(path).is_relative_to(programs.parent) for path in shown.stdout.split()] == [True, True]


def test_measurements_say_that_they_need_a_checkout(programs: Path, tmp_path: Path) -> None:
    """The installed package has no tests."""
    done = subprocess.run(
        [programs / "accident-reco", "bench"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "run this in a checkout" in done.stderr


def test_content_and_metadata_of_the_wheel(wheel: Path) -> None:
    """Types, the files that the launcher reads, unchanged; no tests; metadata for a registry."""
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
        for name in ("dagster.yaml", "workspace.yaml", "deploy/prometheus/prometheus.yml"):
            assert content.read(f"accident_reco/deployment/{name}") == (ROOT / name).read_bytes()
        (path,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(content.read(path).decode())
    assert {"accident_reco/py.typed", "serving/py.typed"} <= names
    rules = {path.name for path in (ROOT / "deploy/prometheus/rules").iterdir()}
    assert rules == {Path(name).name for name in names if "/prometheus/rules/" in name}
    assert {name.split("/")[0] for name in names} == {"accident_reco", "serving", path.split("/")[0]}
    assert (metadata["License-Expression"], metadata["Author"]) == ("Apache-2.0", "accident_reco contributors")
    assert "Project-URL" not in metadata
    assert {"celery", "k8s", "stack", "all"} <= set(metadata.get_all("Provides-Extra", []))
