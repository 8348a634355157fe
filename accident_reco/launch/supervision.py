"""Supervision of child processes: one that ends on its own is started again after a wait, and given up in the end.

The others serve meanwhile. Decides and records; how a process is started and ended is in `processes`.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from accident_reco.launch.processes import Child, Children, LaunchError
from accident_reco.storage.clock import iso_now
from accident_reco.storage.process_states import ProcessState, remove_states, write_states

MAX_RESTARTS = 5
"""Restarts of a process within `WINDOW_MINUTES`; it is given up at its next end."""
WINDOW_MINUTES = 10
FIRST_WAIT_SECONDS = 1.0
"""Wait before the first restart; each further one within the window waits twice as long: 1, 2, 4, 8, 16 s."""
STEP_SECONDS = 0.5


@dataclass(frozen=True)
class RestartDecision:
    """What follows the end of a process.

    Args:
        wait_seconds: until it is started again; None: it is given up.
    """

    wait_seconds: float | None
    reason: str


def decide_restart(ends: Sequence[float], now: float) -> RestartDecision:
    """What follows the latest unexpected end of a process.

    Args:
        ends: times of its unexpected ends, the latest included, in seconds of the clock of `now`.
    """
    recent = sum(now - end <= 60 * WINDOW_MINUTES for end in ends)
    window = f"{WINDOW_MINUTES} minutes"
    if recent > MAX_RESTARTS:
        return RestartDecision(None, f"given up: it ended {recent} times within {window}")
    wait = FIRST_WAIT_SECONDS * 2 ** (recent - 1)
    return RestartDecision(wait, f"restart {recent} of at most {MAX_RESTARTS} within {window}, in {wait:.0f} s")


def describe_exit(code: int) -> str:
    """An exit code of `Popen.poll` in words: a negative one is a signal."""
    return f"ended with exit code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"


@dataclass
class _Watched:
    """A child with the history of its unexpected ends."""

    state: ProcessState
    ends: list[float] = field(default_factory=list)
    starts_at: float | None = None


class Supervisor:
    """Keeps the children of a launcher running, and records their states in the home.

    Args:
        launcher: one of `LAUNCHERS`.
    """

    def __init__(self, groups: Sequence[Children], home: Path, launcher: str) -> None:
        self.groups, self.home, self.launcher = groups, home, launcher
        self._watched: dict[str, _Watched] = {}
        self._written: list[ProcessState] = []

    def step(self) -> None:
        """Look at every child once: record those that ended, start those whose wait is over, bound their logs.

        Raises:
            LaunchError: every child was given up.
        """
        states: list[ProcessState] = []
        for group in self.groups:
            group.rotate_logs()
            states += [self._look_at(child).state for child in group.started]
        if states != self._written:
            write_states(self.home, self.launcher, states)
            self._written = states
        if states and all(state.state == "given up" for state in states):
            raise LaunchError("\n".join(f"{state.name} {state.reason}" for state in states))

    def _look_at(self, child: Child) -> _Watched:
        new = _Watched(ProcessState(child.name, "running", child.process.pid))
        watched = self._watched.setdefault(child.name, new)
        if watched.state.state == "running" and child.process.poll() is not None:
            child.end_group()  # a worker of it may hold its port
            self._record_end(child, watched, describe_exit(child.process.returncode))
        elif watched.starts_at is not None and time.monotonic() >= watched.starts_at:
            try:
                child.restart()
            except OSError as error:
                self._record_end(child, watched, f"cannot be started ({error})")
            else:
                watched.starts_at = None
                watched.state = replace(
                    watched.state, state="running", pid=child.process.pid, restarts=watched.state.restarts + 1
                )
        return watched

    def _record_end(self, child: Child, watched: _Watched, how: str) -> None:
        now = time.monotonic()
        watched.ends.append(now)
        decision = decide_restart(watched.ends, now)
        wait = decision.wait_seconds
        watched.starts_at = None if wait is None else now + wait
        watched.state = replace(
            watched.state,
            state="given up" if wait is None else "restarting",
            ended_at=iso_now(),
            reason=f"{how}; {decision.reason}",
        )
        sys.stderr.write(f"{child.name} {watched.state.reason}; the others continue; see {child.log}\n")
        sys.stderr.flush()


@contextmanager
def supervising(groups: Sequence[Children], home: Path, launcher: str) -> Iterator[Supervisor]:
    """A supervisor of children; the recorded states are removed at its end."""
    try:
        yield Supervisor(groups, home, launcher)
    finally:
        remove_states(home, launcher)


def supervise(groups: Sequence[Children], home: Path, launcher: str) -> None:
    """Keep children running until a signal raises `Stopped`.

    Raises:
        LaunchError: every child was given up.
    """
    with supervising(groups, home, launcher) as supervisor:
        while True:
            supervisor.step()
            time.sleep(STEP_SECONDS)
