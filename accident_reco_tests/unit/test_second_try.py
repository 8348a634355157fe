"""The run of all tests: what passes only at its second try is named; Ctrl-C works in what tests start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from accident_reco_tests.second_try import run_twice
from accident_reco_tests.support.running import ROOT

TESTS = """
from pathlib import Path

def test_passes():
    pass

def test_passes_at_its_second_try():
    seen = Path(__file__).with_name("seen")
    assert seen.exists() or seen.touch()
"""
BROKEN = """
def test_is_broken():
    assert False
"""
NAMED = (
    "Passed only at the second try, alone (correct what they wait for):\n  test_it.py::test_passes_at_its_second_try\n"
)


@pytest.fixture(autouse=True)
def _no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pytest without the plugins that are installed starts in a fraction of the time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.mark.parametrize(("tests", "code"), [(TESTS, 0), (TESTS + BROKEN, 1)])
def test_second_try_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str], tests: str, code: int) -> None:
    """At the end, by id, whether or not another test fails twice; that one is not named."""
    (tmp_path / "test_it.py").write_text(tests)
    assert run_twice([], tmp_path) == code
    output = capfd.readouterr().out
    assert output.endswith(NAMED)


def test_without_a_failure_nothing_runs_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nor after an error of usage, which has an exit code of its own."""
    (tmp_path / "test_it.py").write_text("def test_passes():\n    pass\n")
    assert run_twice([], tmp_path) == 0
    assert capfd.readouterr().out.count("test session starts") == 1
    assert run_twice(["--no-such-option"], tmp_path) == pytest.ExitCode.USAGE_ERROR


def test_children_of_tests_end_on_ctrl_c() -> None:
    """A script that runs the tests in the background ignores SIGINT for them; what they start does not inherit that."""
    child = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    parent = f"""
import signal, subprocess, sys
{{restore}}
subprocess.run([sys.executable, "-c", {child!r}], check=True)
"""
    import_conftest = "import accident_reco_tests.conftest as c; c.pytest_configure()"
    for restore, expected in ((import_conftest, "True\n"), ("", "False\n")):
        command = [
            "sh",
            "-c",
            'trap "" INT QUIT; exec "$@"',
            "sh",
            sys.executable,
            "-c",
            parent.format(restore=restore),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout == expected
