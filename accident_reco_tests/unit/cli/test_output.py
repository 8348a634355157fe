"""Output: lines of fields in a pipe, tables with colour on a terminal, JSON on request."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from accident_reco.cli.output import Table, show

AT = datetime(2026, 11, 27, 14, 5, 6, 789, UTC)
TABLE = Table("run", ("id", "state", "share", "at"), [("a1", "failed", 0.123456, AT), ("a2", None, 1, "x\ty\nz")])


def test_lines_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a row, fields by tab, the table's name first; no field breaks the line."""
    show({}, False, TABLE)
    assert capsys.readouterr().out == "run\ta1\tfailed\t0.1235\t2026-11-27 14:05:06\nrun\ta2\t\t1\tx y z\n"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The whole document; times as text."""
    show({"at": AT, "name": "é"}, True, TABLE)
    assert json.loads(capsys.readouterr().out) == {"at": "2026-11-27 14:05:06.000789+00:00", "name": "é"}


def _on_terminal(code: str, **environ: str) -> str:
    """Output of a program on a terminal."""
    leader, follower = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "100", **environ}
    subprocess.run([sys.executable, "-c", code], stdout=follower, env=environment, check=True)
    os.close(follower)
    chunks = []
    try:
        while chunk := os.read(leader, 65536):
            chunks.append(chunk)
    except OSError:
        pass  # Linux reports the end of a terminal as an error
    os.close(leader)
    return b"".join(chunks).decode()


def test_tables_on_a_terminal() -> None:
    """Headings, states in colour, no colour where the user wants none."""
    code = (
        "from accident_reco.cli.output import Table, show\n"
        "show({}, False, Table('run', ('name', 'state'), [('failed', 'failed')]), Table('request', ('id',), []))"
    )
    shown = _on_terminal(code)
    assert shown.count("\x1b[31mfailed") == 1, "the state is red, the name is not"
    assert "request" in shown
    assert "none" in shown
    assert "\x1b[31m" not in _on_terminal(code, NO_COLOR="1")
