"""The mutation run on a small project: what is killed, accepted and unlisted, and the table of the decisions."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from accident_reco_tests.mutants.__main__ import ROOT, TABLE, Survivor, main

MODULE = '''
def allowed(age: int, limit: int = 18) -> bool:
    """Whether `age` reaches the limit."""
    return age >= limit


def untested(age: int) -> int:
    return age + 1
'''
TESTS = """
from pub.rules import allowed


def test_ages():
    assert [allowed(17), allowed(19)] == [False, True]
"""
ACCEPTED = 'accepted = [{ function = "allowed", was = "18", becomes = "19", reason = "a test of this test" }]'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {
        "pyproject.toml": "[tool.pytest.ini_options]\n",
        "pub/__init__.py": "",
        "pub/rules.py": MODULE,
        "tests/__init__.py": "",
        "tests/test_rules.py": TESTS,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def run(project: Path, *entry: str) -> int:
    table = project / "table.toml"
    lines = ["[age]", 'module = "pub/rules.py"', 'tests = ["tests/test_rules.py"]', *entry]
    table.write_text("\n".join(lines), encoding="utf-8")
    return main(["--jobs", "1"], project, table)


@pytest.mark.slow
def test_survivors_fail_the_run_unless_they_are_accepted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit that no test touches survives with its line; a function that no test calls does so altogether."""
    assert run(project, ACCEPTED) == 1
    shown = capsys.readouterr().out
    assert "pub/rules.py line 4, allowed\n    - return age >= limit\n    + return age > limit" in shown
    assert "pub/rules.py line 8, untested\n    - return age + 1\n    + return age - 1" in shown
    assert "18" not in shown


@pytest.mark.slow
def test_a_run_passes_where_enough_is_killed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing unlisted and enough killed: exit code 0; an accepted mutation that is killed by now is named."""
    test = project / "tests/test_rules.py"
    text = test.read_text(encoding="utf-8") + "    assert allowed(18)\n    assert not allowed(18, 19)\n"
    test.write_text(text, encoding="utf-8")
    assert run(project, 'functions = ["allowed"]', ACCEPTED) == 0
    assert "accepted, but killed or gone: 18 -> 19" in capsys.readouterr().out


@pytest.mark.slow
def test_failing_tests_are_no_kills(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tests that fail without any mutation fail the run, with their output."""
    with (project / "tests/test_rules.py").open("a", encoding="utf-8") as stream:
        stream.write("    assert allowed(0)\n")
    assert run(project) == 1
    shown = capsys.readouterr().out
    assert "mutmut could not run on pub/rules.py" in shown
    assert "assert allowed(0)" in shown


@pytest.mark.parametrize(
    ("after", "covered"), [("f(b, a)", True), ("f(a, b)", True), ("f(b, b)", False), ("f(a, a)", False)]
)
def test_an_accepted_change_is_one_replacement(after: str, covered: bool) -> None:
    """Either place, one at a time; any other change of the same line is not covered, nor another function's."""
    survivor = Survivor(1, "here", "f(a, a)", after.replace("f(a, a)", "f(c, a)"))
    accepted = {"was": "a", "becomes": "b"}
    assert survivor.is_covered_by(accepted) is covered
    assert not survivor.is_covered_by(accepted | {"function": "elsewhere"})


def test_the_table_names_what_exists() -> None:
    """Every module, function and test file is there, and every accepted mutation has a reason and its text."""
    entries = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    assert all(accepted["reason"] for accepted in entries.pop("accepted"))
    for entry in entries.values():
        source = (ROOT / entry["module"]).read_text(encoding="utf-8")
        assert all(f"def {name}(" in source for name in entry.get("functions", ()))
        assert all((ROOT / test.partition("::")[0]).is_file() for test in entry["tests"])
        for accepted in entry.get("accepted", ()):
            assert accepted["reason"]
            assert accepted["was"] in source
            assert f"def {accepted['function'].rpartition('.')[2]}(" in source
