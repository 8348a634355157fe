"""What a launcher records about the processes that it supervises: one small file per launcher in the home.

The launcher writes it; `accident-reco status`, `doctor` and the metrics of the drift service read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

LAUNCHERS: Final = ("stack", "platform")
SUFFIX: Final = ".processes.json"


@dataclass(frozen=True)
class ProcessState:
    """A supervised process.

    Args:
        state: `running`, `restarting` (ended, waits for its next start), or `given up` (stays ended).
        pid: of its latest start.
        restarts: starts after an unexpected end, since the launcher's start.
        ended_at: UTC time of its latest unexpected end, ISO 8601; None without one.
        reason: how it ended and what follows; empty without an unexpected end.
    """

    name: str
    state: Literal["running", "restarting", "given up"]
    pid: int
    restarts: int = 0
    ended_at: str | None = None
    reason: str = ""


def write_states(home: Path, launcher: str, states: Iterable[ProcessState]) -> None:
    """Replace the states of a launcher's processes in one step.

    Args:
        launcher: one of `LAUNCHERS`.
    """
    path = home / f"{launcher}{SUFFIX}"
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps([asdict(state) for state in states]), encoding="utf-8")
    temporary.replace(path)


def read_states(home: Path, launcher: str) -> list[ProcessState]:
    """States of a launcher's processes, in order of their start; empty where none are recorded."""
    try:
        text = (home / f"{launcher}{SUFFIX}").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [ProcessState(**row) for row in json.loads(text)]


def remove_states(home: Path, launcher: str) -> None:
    """Remove the states of a launcher that ends."""
    (home / f"{launcher}{SUFFIX}").unlink(missing_ok=True)
