"""A version tells where it comes from."""

import re
import subprocess
from pathlib import Path

import pytest

from accident_reco.lifecycle import lineage as module
from accident_reco.lifecycle.lineage import PROJECT, checkout_commit, lineage


def test_lineage_names_the_commit_of_the_checkout() -> None:
    """In a checkout the commit is git's; a deployment's own word wins."""
    if (PROJECT / ".git").exists():
        assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?", checkout_commit() or "")
    told = lineage(
        data_source="sample",
        sources=[{"name": "usagers-2024.csv", "sha256": "0" * 64}],
        dagster_run_id="run",
        mlflow_run_id=None,
        git_commit="abc",
        dvc_revision="r1",
    )
    assert told["git_commit"] == "abc"
    assert told["dvc_revision"] == "r1"
    assert told["sources"][0]["name"] == "usagers-2024.csv"


def test_a_package_below_another_repository_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in a user's own repository: that repository's commit is not the code's."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "theirs"], check=True)
    installed = tmp_path / ".venv" / "site-packages"
    installed.mkdir(parents=True)
    monkeypatch.setattr(module, "PROJECT", installed)
    assert checkout_commit() is None
    monkeypatch.setattr(module, "PROJECT", tmp_path)
    assert checkout_commit() is not None
