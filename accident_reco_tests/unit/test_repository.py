"""What surrounds the code: CI, update proposals, templates, hooks, editors, changelog. Each agrees with the project."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from accident_reco.launch.platform import SERVICES
from accident_reco.launch.programs import script
from accident_reco.settings import Settings
from accident_reco_tests.conftest import LONGEST
from accident_reco_tests.support.running import ROOT

GITHUB = ROOT / ".github"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
PYTHONS = ["3.11", "3.12", "3.13"]
"""Versions that the lock was resolved for, and that the unit tests ran on."""


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", ["workflows/ci.yml"]),
        ("custom.github-workflows-require-timeout", ["workflows/ci.yml"]),
        ("vendor.dependabot", ["dependabot.yml"]),
        ("vendor.github-issue-forms", ["ISSUE_TEMPLATE/bug_report.yml", "ISSUE_TEMPLATE/feature_request.yml"]),
        ("vendor.github-issue-config", ["ISSUE_TEMPLATE/config.yml"]),
    ],
)
def test_files_for_github_fit_their_schema(schema: str, files: list[str]) -> None:
    """By the schemas that check-jsonschema brings; every such file is checked."""
    command = [script("check-jsonschema"), "--builtin-schema", schema, *(str(GITHUB / file) for file in files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_for_github_has_a_schema() -> None:
    """A new workflow or form is added to the test above."""
    found = {str(path.relative_to(GITHUB)) for path in GITHUB.rglob("*.y*ml")}
    (marker,) = test_files_for_github_fit_their_schema.pytestmark  # type: ignore[attr-defined]
    assert found == {file for _, files in marker.args[1] for file in files}


def test_workflow_runs_the_command_of_the_project() -> None:
    """All tests by `.ci/run` on the version of the images; the unit tests on each other version. Actions are pinned."""
    jobs = _load(GITHUB / "workflows" / "ci.yml")["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name)] == []
    assert [step["run"] for step in jobs["all"]["steps"] if "run" in step] == ["bash .ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    dockerfile = (ROOT / "deploy/compose/Dockerfile").read_text(encoding="utf-8")
    image = jobs["all"]["container"]["image"]
    assert f"FROM {image.replace('-bookworm', '-slim-bookworm')} " in dockerfile
    main = re.match(r"python:(\d+\.\d+)", image)
    assert main
    assert [main[1], *jobs["unit"]["strategy"]["matrix"]["python"]] == PYTHONS


def test_versions_of_python_agree() -> None:
    """`requires-python` and the classifiers state exactly the versions that are tested."""
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert [f"3.{minor}" for minor in range(8, 20) if allowed.contains(f"3.{minor}.5")] == PYTHONS
    classified = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert classified == PYTHONS


def test_update_proposals_reach_every_place_of_versions() -> None:
    """Each folder exists and has a file of its ecosystem; what must not be updated is a pin with its reason."""
    updates = {update["package-ecosystem"]: update for update in _load(GITHUB / "dependabot.yml")["updates"]}
    files = {
        "pip": "pyproject.toml",
        "github-actions": ".github/workflows/ci.yml",
        "docker": "Dockerfile",
        "docker-compose": "compose.yaml",
        "npm": "package.json",
    }
    assert set(updates) == set(files)
    for kind, update in updates.items():
        assert (ROOT / update["directory"].removeprefix("/") / files[kind]).exists()
    held = {ignored["dependency-name"]: ignored["versions"] for ignored in updates["pip"]["ignore"]}
    pinned = "\n".join(PROJECT["dependencies"])
    for name, (versions,) in held.items():
        assert re.search(rf"^{name}\S*,{re.escape(versions.replace('>=', '<'))}$", pinned, re.MULTILINE), name


def test_hooks_are_pinned_and_ruff_is_the_locked_one() -> None:
    """Two versions of a formatter would undo each other's work."""
    repositories = _load(ROOT / ".pre-commit-config.yaml")["repos"]
    hooks = {hook["id"]: repository["rev"] for repository in repositories for hook in repository["hooks"]}
    assert {"ruff-check", "ruff-format", "trailing-whitespace", "check-added-large-files"} < set(hooks)
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+", revision) for revision in hooks.values())
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert f"\nruff=={hooks['ruff-check'].removeprefix('v')} " in lock


def test_editors_keep_to_the_formatter() -> None:
    """The line length is ruff's, and the Makefile has tabs."""
    text = (ROOT / ".editorconfig").read_text(encoding="utf-8")
    assert f"max_line_length = {PYPROJECT['tool']['ruff']['line-length']}" in text
    assert "[Makefile]\nindent_style = tab" in text


def test_development_container_fits() -> None:
    """The oldest version of Python, the command that installs, and the ports of the services."""
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert re.search(rf":{re.escape(PYTHONS[0])}-", container["image"])
    assert container["postCreateCommand"] == "make install"
    fields = Settings.model_fields
    ports = {fields[f"{name}_port"].default for name in ("dagster", "mlflow", *SERVICES)}
    assert set(container["forwardPorts"]) == ports
    assert set(container["portsAttributes"]) == {str(port) for port in ports}


def test_changelog_has_the_present_version() -> None:
    """Sections in the order and with the names of Keep a Changelog; the newest release is the package's version."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)
    assert releases[0] == ("Unreleased", "")
    assert releases[1][0] == PROJECT["version"]
    dates = [date for _, date in releases[1:]]
    assert dates == sorted(dates, reverse=True)
    assert all(dates)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds


def test_policies_say_how_to_report() -> None:
    """Security policy and code of conduct lead to a private way; the policy names the present version."""
    security = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "Report a vulnerability" in security
    assert f"| {PROJECT['version'].rsplit('.', 1)[0]} | yes |" in security
    assert "SECURITY.md" in (ROOT / "CODE_OF_CONDUCT.md").read_text(encoding="utf-8")
    assert "SECURITY.md" in (GITHUB / "ISSUE_TEMPLATE" / "bug_report.yml").read_text(encoding="utf-8")


def test_files_that_are_begun_first_exist() -> None:
    """A file that was renamed would be begun last again."""
    tests = ROOT / "accident_reco_tests"
    assert [name for name in LONGEST if len(list(tests.rglob(name))) != 1] == []
