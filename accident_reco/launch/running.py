"""What runs in a home: who holds its lock, how it is stopped, the variables of its stack."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from accident_reco.launch.locks import LOCKS, is_locked
from accident_reco.launch.processes import LaunchError

STOP_SECONDS = 60.0
"""Limit on an orderly stop: the stack stops the platform, then its servers."""


@dataclass(frozen=True)
class RunningPlatform:
    """The process that works in a home.

    Args:
        kind: one of `LOCKS`: `stack`, `platform` (`accident-reco up`), or `pipeline` (without servers).
        since: UTC time of its start, ISO 8601.
    """

    kind: str
    pid: int
    since: str

    @property
    def has_services(self) -> bool:
        """Whether it runs the services and the sensors."""
        return self.kind != "pipeline"


def find_running(home: Path) -> RunningPlatform | None:
    """What runs in a home; of several, the process that started the others. None where nothing runs."""
    for kind in LOCKS:
        path = home / f"{kind}.lock"
        if is_locked(path):
            recorded = json.loads(path.read_text(encoding="utf-8") or "{}")
            if "pid" in recorded:  # absent for a moment after its start
                return RunningPlatform(kind, int(recorded["pid"]), str(recorded["since"]))
    return None


def stop_running(home: Path, seconds: float = STOP_SECONDS) -> RunningPlatform | None:
    """Stop what runs in a home and wait for its end; returns what ran, None where nothing did.

    Raises:
        LaunchError: the process belongs to another user, or did not end in time.
    """
    running = find_running(home)
    if running is None:
        return None
    try:
        os.kill(running.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it ended meanwhile
    except PermissionError:
        raise LaunchError(
            f"process {running.pid} of {home} belongs to another user; fix: stop it as that user"
        ) from None
    deadline = time.monotonic() + seconds
    while any(is_locked(home / f"{kind}.lock") for kind in LOCKS):
        if time.monotonic() > deadline:
            raise LaunchError(f"process {running.pid} did not end within {seconds:.0f} s; see {home / 'logs'}")
        time.sleep(0.1)
    return running


def stack_variables(home: Path) -> dict[str, str]:
    """Variables of the stack that runs in a home, for commands on its databases; empty where no stack runs."""
    running = find_running(home)
    return recorded_stack(home) if running is not None and running.kind == "stack" else {}


def recorded_stack(home: Path) -> dict[str, str]:
    """Variables of the latest stack of a home, whether it runs or not; empty where none was started."""
    path = home / "stack" / "environment"
    if not path.exists():
        return {}
    pairs = (word.partition("=") for word in shlex.split(path.read_text(encoding="utf-8")))
    return {name: value for name, _, value in pairs}
