"""A program that fails leaves one JSON line with its reason; on a terminal it leaves the message."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from accident_reco.log_lines import build_line
from accident_reco_tests.support.alloy import send

CRASH = "from accident_reco.log_lines import report_crashes\nreport_crashes('predict')\n"
CHAIN = CRASH + "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError('no\\nrows') from error\n"
THREAD = (
    CRASH
    + "import threading\nthread = threading.Thread(target=lambda: 1 / 0, name='log')\nthread.start(); thread.join()\n"
)
INTERRUPT = CRASH + "raise KeyboardInterrupt\n"


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, env=os.environ | environ
    )


def only_line(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (line,) = done.stderr.splitlines()
    (entry,) = send([line], "predict")
    assert entry.labels["level"] == "critical"
    return entry.json()


def test_line_is_one_object_without_empty_fields() -> None:
    """Line breaks of a reason do not split the line."""
    line = build_line("dagster", "info", "a\nb", run_id=None, path=os.path)
    assert "\n" not in line
    assert set(json.loads(line)) == {"service", "level", "timestamp", "event", "path"}


def test_crash_is_one_line_with_its_whole_chain() -> None:
    """Both tracebacks, the error in one sentence, Python's exit code."""
    done = run("-c", CHAIN)
    assert done.returncode == 1
    line = only_line(done)
    assert line["error"] == "ValueError: no rows"
    assert line["event"] == "predict ended: ValueError: no rows"
    assert "ZeroDivisionError" in line["exception"]
    assert "direct cause" in line["exception"]


def test_crash_of_a_thread_names_it() -> None:
    """A background thread that dies is no silent loss."""
    line = only_line(run("-c", THREAD))
    assert line["event"] == "thread log ended: ZeroDivisionError: division by zero"


def test_interrupt_is_no_crash() -> None:
    """Ctrl-C stays Python's own message."""
    assert "critical" not in run("-c", INTERRUPT).stderr


@pytest.mark.parametrize("program", ["code-server", "exporter", "auth"])
def test_program_that_does_not_start_has_one_line(program: str) -> None:
    """Every wrong setting in one message, exit code 2."""
    modules = {"auth": ["serving.auth"], "exporter": ["accident_reco.defs.exporter"]}
    module = modules.get(program, ["accident_reco.launch.dagster_process", program])
    done = run("-m", *module, ACCIDENT_RECO_HTTP_WORKERS="none", ACCIDENT_RECO_MAX_BODY_BYTES="none")
    assert done.returncode == 2
    event = only_line(done)["event"]
    assert "ACCIDENT_RECO_HTTP_WORKERS" in event
    assert "ACCIDENT_RECO_MAX_BODY_BYTES" in event


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [
        ("ACCIDENT_RECO_HTTP_WORKERS", "none", 2),
        ("ACCIDENT_RECO_DATABASE_URL", "postgresql+psycopg2://platform:p@127.0.0.1:1/platform", 1),
    ],
)
def test_preparation_that_fails_has_one_line(tmp_path: Path, setting: str, value: str, code: int) -> None:
    """The first container of compose: everything waits for it, and its reason is found by level."""
    done = run("-m", "accident_reco.cli", "prepare", ACCIDENT_RECO_HOME=str(tmp_path), **{setting: value})
    assert done.returncode == code
    assert only_line(done)["event"]


def test_console_script_runs_as_itself() -> None:
    """Arguments and exit code are the script's."""
    shown = run("-m", "accident_reco.launch.console_script", "celery", "--version")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.strip()
    missing = run("-m", "accident_reco.launch.console_script", "no-such-program")
    assert missing.returncode == 2
    assert "no-such-program" in only_line(missing)["event"]


def test_code_location_that_cannot_be_imported_is_one_line() -> None:
    """The code server ends with the reason and the trace."""
    arguments = ["--port", "1", "--module-name", "nowhere", "--log-format", "json"]
    failed = run("-m", "accident_reco.defs.code_server", *arguments)
    assert failed.returncode == 1
    line = only_line(failed)
    assert "No module named 'nowhere'" in line["error"]
    assert "Traceback" in line["exception"]


def test_terminal_shows_the_message_itself() -> None:
    """A person at a terminal reads no JSON."""
    code = "from accident_reco.log_lines import report_failure; report_failure('auth', 'port 7999 is in use')"
    parent, child = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", code], stderr=child, check=True, timeout=60)
        assert os.read(parent, 1000).decode().strip() == "port 7999 is in use"
    finally:
        os.close(parent)
        os.close(child)
