"""`accident-reco bench`: names, wrong usage, and a whole run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accident_reco_tests.bench.comparisons import COMPARISONS
from accident_reco_tests.support.command_line import accident_reco


def test_help_lists_every_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are in the help, also where the package is installed without its tests."""
    monkeypatch.setenv("COLUMNS", "200")
    shown = accident_reco("bench", "--help").out
    text = " ".join(shown.partition("Comparisons:")[2].partition("Peers that")[0].replace("│", " ").split())
    assert [name for name in COMPARISONS if f"{name} (" not in text] == []


def test_unknown_name_is_wrong_usage() -> None:
    """The message has the known ones."""
    outcome = accident_reco("bench", "--only", "absent")
    assert outcome.exit_code == 2
    assert "noop" in outcome.err


def test_one_comparison_writes_table_json_and_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One without servers or goals: the exit code is 0, JSON is the output, progress is on the error output."""
    monkeypatch.setenv("ACCIDENT_RECO_HOME", str(tmp_path / "home"))
    outcome = accident_reco(
        "bench", "--only", "features", "--rounds", "2", "--scale", "0.01", "--json", "--out", str(tmp_path / "out")
    )
    written = capfd.readouterr()
    assert outcome.exit_code == 0, written.err
    document = json.loads(written.out)
    assert document == json.loads((tmp_path / "out" / "benchmarks.json").read_text(encoding="utf-8"))
    (comparison,) = document["comparisons"]
    (row,) = comparison["rows"]
    assert (comparison["name"], row["kind"], len(row["ours"]["turns"])) == ("features", "cost", 2)
    assert row["ratio"] > 0
    assert "pandas" in row["peer"]
    assert "[1/1] features: round 2 of 2" in written.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "benchmarks.json",
        "benchmarks.md",
        "benchmarks.svg",
    }
