"""Log files of processes: kept over a restart, bounded, and written on after a rotation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from accident_reco.launch import processes
from accident_reco.launch.log_rotation import KEPT_LOGS, rotate
from accident_reco.launch.processes import Children

WRITER = "import sys\nfor line in sys.stdin:\n    print(line, end='', flush=True)"


def test_a_process_writes_on_in_the_emptied_file(tmp_path: Path) -> None:
    """Nothing is lost, the newest lines are in `NAME.log`, the earlier ones in `.1`, `.2`; older ones are deleted."""
    log = tmp_path / "predict.log"
    with (
        log.open("ab") as output,
        subprocess.Popen(
            [sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=output, text=True, bufsize=1
        ) as process,
    ):
        assert process.stdin
        for number in range(KEPT_LOGS + 2):
            text = f"{number}" * 2000
            process.stdin.write(f"{text}\n")
            process.stdin.flush()
            while not log.read_text().endswith(f"{text}\n"):
                assert process.poll() is None
            assert not rotate(log, max_bytes=3000)
            assert rotate(log, max_bytes=2001)
        process.stdin.close()
    assert log.read_text() == ""
    kept = {path.name: path.read_text()[0] for path in tmp_path.glob("*.log.*")}
    assert kept == {"predict.log.1": "3", "predict.log.2": "2"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predict.log", *sorted(kept)]


def test_a_restart_keeps_the_log_of_the_process_that_died(tmp_path: Path) -> None:
    """The reason of a crash is read after the restart."""
    for word in ("first", "second"):
        children = Children({}, tmp_path)
        assert children.wait(children.start("service", [sys.executable, "-c", f"print('{word}')"])) == 0
    assert (tmp_path / "service.log").read_text() == "first\nsecond\n"
    assert processes.Child.tail(children.started[0], lines=1) == "second"


def test_a_start_rotates_a_full_log(tmp_path: Path) -> None:
    """The bound holds over restarts too."""
    (tmp_path / "service.log").write_bytes(b"x" * (21 << 20))
    children = Children({}, tmp_path)
    children.wait(children.start("service", [sys.executable, "-c", "print('new')"]))
    assert (tmp_path / "service.log").read_text() == "new\n"
    assert (tmp_path / "service.log.1").stat().st_size == 21 << 20
