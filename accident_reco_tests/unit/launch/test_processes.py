"""Child processes: signals are handled by default, whatever the launcher inherited."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from accident_reco.launch.processes import Children
from accident_reco.log_lines import build_line

CHILD = "import json, signal; print(json.dumps([signal.getsignal(n) is signal.SIG_IGN for n in (2, 3, 1, 15)]))"
LAUNCHER = """
import signal, sys
from pathlib import Path
from accident_reco.launch.processes import Children
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
children = Children({}, Path(sys.argv[1]))
children.start("child", [sys.executable, "-c", sys.argv[2]]).process.wait()
"""


def test_children_do_not_inherit_ignored_signals(tmp_path: Path) -> None:
    """A script starts its background jobs with SIGINT ignored: PostgreSQL would not stop by it, a run not be ended."""
    subprocess.run([sys.executable, "-c", LAUNCHER, str(tmp_path), CHILD], check=True)
    assert json.loads((tmp_path / "child.log").read_text()) == [False] * 4


def test_end_of_a_log_is_shown_as_text(tmp_path: Path) -> None:
    """A person who starts the platform reads the reason and the stack trace, not JSON; other lines stay."""
    line = build_line("predict", "critical", "cannot listen", exception="Traceback …\n  File …")
    code = f"print('plain'); print({line!r}); print('{{broken')"
    child = Children({}, tmp_path).start("predict", [sys.executable, "-c", code])
    child.process.wait()
    assert child.tail() == "plain\ncannot listen\nTraceback …\n  File …\n{broken"
