"""Restart of processes that end on their own: the decision by a table, the supervisor with real processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from accident_reco.launch import supervision
from accident_reco.launch.processes import Children, LaunchError
from accident_reco.launch.supervision import RestartDecision, Supervisor, decide_restart, describe_exit, supervising
from accident_reco.storage.process_states import ProcessState, read_states
from accident_reco_tests.support.live import wait_for

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
FAIL = [sys.executable, "-c", "raise SystemExit('no memory')"]


@pytest.mark.parametrize(
    ("ends", "wait", "reason"),
    [
        ([0.0], 1.0, "restart 1 of at most 5 within 10 minutes, in 1 s"),
        ([0.0] * 2, 2.0, "restart 2 of at most 5 within 10 minutes, in 2 s"),
        ([0.0] * 5, 16.0, "restart 5 of at most 5 within 10 minutes, in 16 s"),
        ([0.0] * 6, None, "given up: it ended 6 times within 10 minutes"),
        ([-600.0, *[0.0] * 5], None, "given up: it ended 6 times within 10 minutes"),
        ([-600.1, *[0.0] * 5], 16.0, "restart 5 of at most 5 within 10 minutes, in 16 s"),
        ([-5000.0] * 40 + [0.0], 1.0, "restart 1 of at most 5 within 10 minutes, in 1 s"),
    ],
)
def test_wait_doubles_and_the_sixth_end_within_ten_minutes_is_the_last(
    ends: list[float], wait: float | None, reason: str
) -> None:
    """Ends of more than ten minutes ago do not count: a process that fails once a day is started for ever."""
    assert decide_restart([1e6 + end for end in ends], 1e6) == RestartDecision(wait, reason)


@pytest.mark.parametrize(
    ("code", "text"), [(0, "ended with exit code 0"), (3, "ended with exit code 3"), (-9, "was killed by SIGKILL")]
)
def test_exit_in_words(code: int, text: str) -> None:
    """A negative code is a signal."""
    assert describe_exit(code) == text


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    made = Children(dict(os.environ), tmp_path)
    yield made
    made.stop(seconds=1.0)


@pytest.fixture
def state(children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ProcessState]:
    """Looks at the children once, and returns what is recorded of one. Waits are a hundred times shorter."""
    monkeypatch.setattr(supervision, "FIRST_WAIT_SECONDS", 0.01)
    supervisor = Supervisor([children], tmp_path, "platform")

    def look(name: str) -> ProcessState:
        supervisor.step()
        return next(found for found in read_states(tmp_path, "platform") if found.name == name)

    return look


def test_a_killed_child_is_started_again_and_the_others_stay(
    children: Children, state: Callable[[str], ProcessState], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the same command, appending to the same log; its end is recorded and reported on the terminal."""
    killed, other = children.start("killed", SLEEP), children.start("other", SLEEP)
    assert state("killed") == ProcessState("killed", "running", killed.process.pid)
    wait_for(lambda: "up" in killed.log.read_text())
    first, spared = killed.process.pid, other.process.pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: state("killed").restarts == 1)
    found = state("killed")
    assert (found.state, found.pid) == ("running", killed.process.pid)
    assert killed.process.pid != first
    assert killed.process.poll() is None
    assert found.reason.startswith("was killed by SIGKILL; restart 1 of at most 5")
    assert found.ended_at is not None
    assert "killed was killed by SIGKILL" in capsys.readouterr().err
    assert (state("other").restarts, other.process.pid, other.process.poll()) == (0, spared, None)
    wait_for(lambda: killed.log.read_text().count("up") == 2)


def test_what_a_killed_child_has_started_ends_with_it(
    children: Children, state: Callable[[str], ProcessState], tmp_path: Path
) -> None:
    """A worker that is left would hold the port of the next one."""
    worker = (
        "import subprocess, sys; p = subprocess.Popen(sys.argv[1:]); open('%s', 'w').write(f'{p.pid}\\n'); p.wait()"
    )
    pid_file = tmp_path / "worker"
    child = children.start("service", [sys.executable, "-c", worker % pid_file, *SLEEP])
    wait_for(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
    grandchild = int(pid_file.read_text())
    os.kill(child.process.pid, signal.SIGKILL)
    wait_for(lambda: state("service").state == "restarting")
    wait_for(
        lambda: not Path(f"/proc/{grandchild}/cmdline").exists() or not Path(f"/proc/{grandchild}/cmdline").read_bytes()
    )


def test_a_child_that_keeps_failing_is_given_up_and_the_others_stay(
    children: Children, state: Callable[[str], ProcessState]
) -> None:
    """Five restarts, then it stays ended."""
    failing, other = children.start("failing", FAIL), children.start("other", SLEEP)
    wait_for(lambda: state("failing").state == "given up")
    found = state("failing")
    assert found.restarts == supervision.MAX_RESTARTS
    assert found.reason == "ended with exit code 1; given up: it ended 6 times within 10 minutes"
    assert failing.log.read_text().count("no memory") == 6
    assert state("other").state == "running"
    assert other.process.poll() is None


def test_a_program_that_is_gone_is_given_up(
    children: Children, state: Callable[[str], ProcessState], tmp_path: Path
) -> None:
    """An upgrade in place has removed it: a failed start counts as an end."""
    program = tmp_path / "program"
    program.symlink_to(sys.executable)
    children.start("other", SLEEP)
    child = children.start("gone", [str(program), *SLEEP[1:]])
    program.unlink()
    os.kill(child.process.pid, signal.SIGKILL)
    wait_for(lambda: state("gone").state == "given up")
    assert "cannot be started" in state("gone").reason


def test_without_any_child_left_the_launcher_ends(
    children: Children, state: Callable[[str], ProcessState], tmp_path: Path
) -> None:
    """An orchestrator can then start it anew. Its states are removed with it."""
    children.start("only", FAIL)
    with pytest.raises(LaunchError, match="only ended with exit code 1; given up"):
        wait_for(lambda: state("only").state == "ended")
    with supervising([children], tmp_path, "platform"):
        pass
    assert read_states(tmp_path, "platform") == []
