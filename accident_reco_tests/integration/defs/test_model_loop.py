"""The component `accident_reco.ModelLoop`: what `dg` makes and checks, and that services find the same models."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from accident_reco.launch.processes import answers, free_port
from accident_reco_tests.docs.pages import blocks
from accident_reco_tests.support import dagster_api
from accident_reco_tests.support.live import wait_for
from accident_reco_tests.support.running import ROOT

DG = str(Path(sys.executable).with_name("dg"))
PROJECT = """
[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "mine"
code_location_target_module = "mine.definitions"
"""
DEFINITIONS = "from accident_reco.definitions import defs\n\n__all__ = ['defs']\n"
PAGE = ROOT / "docs" / "pages" / "how-to" / "dagster.md"
SERVED = """
import sys
from accident_reco.settings import Settings
from serving.predict.app import create_app

paths = create_app(Settings.load(auth_required=False)).openapi()["paths"]
assert "dagster" not in sys.modules
print(*paths, sep="\\n")
"""


def _environment(folder: Path) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("ACCIDENT_RECO_", "DAGSTER_"))}
    return clean | {
        "PYTHONPATH": str(folder),
        "VIRTUAL_ENV": str(Path(sys.executable).parents[1]),
        "ACCIDENT_RECO_HOME": str(folder / "home"),
        "ACCIDENT_RECO_LOOPS": str(folder / "mine" / "defs"),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "DAGSTER_DG_CLI_DISABLE_TELEMETRY": "yes",
        "PYTHONWARNINGS": "error::dagster.SupersessionWarning",
    }


def _run(folder: Path, *command: str, where: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=where or folder, env=_environment(folder), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "upersession" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project beside the installed platform: a new model, and a second instance of the accident model."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "mine" / "defs" / "accidents_full").mkdir(parents=True)
    for name in ("__init__.py", "defs/__init__.py"):
        (folder / "mine" / name).touch()
    (folder / "mine" / "definitions.py").write_text(DEFINITIONS)
    (second,) = [block.code for block in blocks(PAGE) if block.language == "yaml"]
    (folder / "mine" / "defs" / "accidents_full" / "defs.yaml").write_text(second)
    _run(folder, DG, "scaffold", "defs", "accident_reco.ModelLoop", "weather")
    return folder


def test_a_scaffolded_model_passes_the_check(project: Path) -> None:
    """Beside a second instance of the accident model: both have every asset of a loop."""
    assert {path.name for path in (project / "mine" / "defs" / "weather").glob("*.*")} == {
        "defs.yaml",
        "model.py",
        "serving.py",
        "training.py",
    }
    _run(project, DG, "check", "defs")
    listed = _run(project, DG, "list", "defs", "--json")
    for model in ("weather", "accidents_full", "accidents", "movies"):
        assert all(f"{model}/{asset}" in listed for asset in ("candidate_model", "production_model", "drift_report"))
    assert "accidents_full/victims" not in listed  # the data is that of the base instance


def test_services_find_the_declared_models(project: Path) -> None:
    """Without Dagster in the process: predict has endpoints of both."""
    paths = _run(project, sys.executable, "-c", SERVED).splitlines()
    assert {"/predict/weather", "/predict/accidents_full", "/predict/accidents"} <= set(paths)


def test_the_platforms_own_project_is_valid() -> None:
    """`dg` finds the code location and the configuration of the checkout."""
    assert "valid" in _run(ROOT, DG, "check", "toml")


def test_dg_dev_serves_the_location(project: Path) -> None:
    """The declared models are in the location that Dagster's pages load; nothing of the platform runs beside it."""
    home, port = project / "dev", free_port()
    home.mkdir()
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    environ = _environment(project) | {"DAGSTER_HOME": str(home)}
    log = project / "dev.log"
    with log.open("wb") as output:
        command = [DG, "dev", "--port", str(port)]
        process = subprocess.Popen(
            command, cwd=project, env=environ, stdout=output, stderr=output, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: process.poll() is not None or answers(f"{url}/server_info"), 90)
        assert process.poll() is None, log.read_text()
        shown = dagster_api.repository(url)
        assert {"train_weather", "train_accidents_full", "train_accidents"} <= shown["jobs"]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert "upersession" not in log.read_text()
