"""Ratios, goals, exit codes, report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from accident_reco_tests.bench.comparison import (
    Comparison,
    Goal,
    Options,
    Result,
    Row,
    Run,
    find_exit_code,
    take_turns,
)
from accident_reco_tests.bench.machine import describe_machine
from accident_reco_tests.bench.report import JSON_FILE, PLOT_FILE, TABLE_FILE, build_markdown, describe, write_report

FASTER = Row("one record", "requests/s", [100.0, 300.0, 200.0], "noop 1 (MIT)", [50.0, 100.0, 200.0], "rate", Goal(3))
SPEEDUP = Row("verdict", "s", [2.0, 4.0], "slow 1 (MIT)", [40.0, 88.0], "speedup", Goal(20))
COST = Row("load", "s", [3.0], "COPY", [2.0], "cost", Goal(1.5, "most"))
ALONE = Row("memory", "MB", [70.0], goal=Goal(60, "most", "ours"))
MISSING = Row("one record", "requests/s", [100.0], "absent 1 (MIT)", (), "rate", Goal(15), "no such package")


@pytest.mark.parametrize(
    ("row", "ratio", "is_met"),
    [(FASTER, 2.0, False), (SPEEDUP, 21.0, True), (COST, 1.5, True), (ALONE, None, False), (MISSING, None, None)],
    ids=lambda value: value.what if isinstance(value, Row) else None,
)
def test_ratio_is_the_median_of_pairs(row: Row, ratio: float | None, is_met: bool | None) -> None:
    """Each turn is one pair, so that what the machine does meanwhile hits both sides; a missing peer meets nothing."""
    assert (row.ratio, row.is_met) == (ratio, is_met)


def test_sides_start_in_turn() -> None:
    """No side is always first."""
    calls: list[str] = []

    def measure(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    values = take_turns({"a": lambda: measure("a"), "b": lambda: measure("b")}, 3)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert values == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([Result("a", "?", [SPEEDUP])], 0),
        ([Result("a", "?", [MISSING])], 0),
        ([Result("a", "?", [SPEEDUP, ALONE])], 4),
        ([Result("a", "?", [ALONE]), Result("b", "?", error="failed")], 1),
    ],
)
def test_exit_code(results: list[Result], code: int) -> None:
    """A failed comparison is worse than a missed goal; a missing peer is neither."""
    assert find_exit_code(results) == code


def test_report_has_ratios_first_and_hides_nothing(tmp_path: Path) -> None:
    """Missing peers, missed goals, failures and profiles are all in the table, every turn is in the JSON."""
    run = Run(describe_machine() | {"load_before": 0.1}, {"rounds": 3})
    results = [
        Result("first", "?", [MISSING, FASTER, ALONE], profile="ncalls tottime", run=run),
        Result("second", "?", error="RuntimeError: port in use", run=run),
    ]
    write_report(tmp_path, results)
    table = (tmp_path / TABLE_FILE).read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert rows[0].startswith("| ratio | turns | goal")
    assert rows[2].startswith("| **2** × the rate of | 1 to 3 | ≥ 3: **missed** | one record | noop 1 (MIT) |")
    assert (
        rows[3]
        == "| not measured | – | ≥ 15: unknown | one record | absent 1 (MIT) | 100 requests/s | no such package |"
    )
    assert "| 70 MB | ≤ 60: **missed** | memory |" in rows
    assert "**second failed**: RuntimeError: port in use" in table
    assert "ncalls tottime" in table
    assert f"`first`, `second`: {describe(run.machine)}; rounds 3." in table
    document: dict[str, Any] = json.loads((tmp_path / JSON_FILE).read_text(encoding="utf-8"))
    first = document["comparisons"][0]["rows"][1]
    assert (first["ratio"], first["ratio_range"], first["goal_met"]) == (2.0, [1.0, 3.0], False)
    assert first["theirs"]["turns"] == [50.0, 100.0, 200.0]
    assert document["comparisons"][0]["run"]["machine"]["versions"]["onnxruntime"]
    assert "one record: × the rate of noop 1" in (tmp_path / PLOT_FILE).read_text(encoding="utf-8")


def test_plot_is_the_same_for_the_same_figures(tmp_path: Path) -> None:
    """A committed plot changes with its figures alone."""
    results = [Result("a", "?", [SPEEDUP, COST], run=Run(describe_machine()))]
    for name in ("one", "other"):
        write_report(tmp_path / name, results)
    assert (tmp_path / "one" / PLOT_FILE).read_bytes() == (tmp_path / "other" / PLOT_FILE).read_bytes()


def test_busy_machine_is_stated() -> None:
    """Figures of a busy machine are no evidence, and the table says it."""
    run = Run(describe_machine() | {"load_before": 99.0})
    assert any("busy" in line for line in build_markdown([Result("a", "?", run=run)]))


def test_comparisons_that_did_not_run_stay_in_the_report(tmp_path: Path) -> None:
    """A report is gathered over several runs; each comparison states its own."""
    machine = describe_machine() | {"load_before": 0.1}
    former, now = (Run({**machine, "commit": commit}, {"rounds": 3}) for commit in ("former", "now"))
    write_report(tmp_path, [Result("noop", "?", [FASTER, MISSING], 2.0, run=former), Result("drift", "?", run=former)])
    kept = json.loads((tmp_path / JSON_FILE).read_text(encoding="utf-8"))["comparisons"][0]
    write_report(tmp_path, [Result("drift", "?", [SPEEDUP, ALONE], run=now)])
    document = json.loads((tmp_path / JSON_FILE).read_text(encoding="utf-8"))
    assert document["comparisons"][0] == kept
    assert [one["run"]["machine"]["commit"] for one in document["comparisons"]] == ["former", "now"]
    table = (tmp_path / TABLE_FILE).read_text(encoding="utf-8")
    assert "noop 1 (MIT)" in table
    assert "slow 1 (MIT)" in table
    assert [line[:7] for line in table.splitlines() if "rounds 3" in line] == ["`noop`:", "`drift`"]


def test_failure_is_part_of_the_result(tmp_path: Path) -> None:
    """A comparison that fails does not end the others."""
    from accident_reco_tests.bench.__main__ import run_comparison

    options = Options(1, 0.1, 0.01, tmp_path, tmp_path)
    result = run_comparison(Comparison("absent", "?", "no_such_module"), options, Run())
    assert result.error.startswith("ModuleNotFoundError")
