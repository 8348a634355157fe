"""Bounded log files of child processes, which append to them for as long as they run.

A full log is copied to `NAME.log.1` and emptied in place: the process keeps its open file.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MAX_LOG_BYTES = 20 << 20
"""Size at which a log is rotated."""
KEPT_LOGS = 2
"""Rotated logs of a process, `.1` is the newest: at most three times `MAX_LOG_BYTES` per process."""


def rotate(log: Path, max_bytes: int = MAX_LOG_BYTES) -> bool:
    """Rotate a log that has reached a size; returns whether it had.

    Lines are lost only if they are written between the last read of the copy and the truncation, microseconds later.
    """
    if not log.exists() or log.stat().st_size < max_bytes:
        return False
    older = [log.with_name(f"{log.name}.{number}") for number in range(1, KEPT_LOGS + 1)]
    for newer, target in zip(older[-2::-1], older[:0:-1], strict=True):
        if newer.exists():
            newer.replace(target)
    draft = log.with_name(f".{log.name}.draft")
    with log.open("rb+") as live, draft.open("wb") as copy:
        shutil.copyfileobj(live, copy)  # reads on to the end, however much is appended meanwhile
        os.ftruncate(live.fileno(), 0)
    draft.replace(older[0])
    return True
