"""Locks of a home: one stack, one platform and one pipeline run in it at a time, none on a part of a backup.

A lock file has the process and its start; the lock ends with the process. The mark of a restore stays until it is
complete.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from accident_reco.launch.private_files import private_files
from accident_reco.launch.processes import LaunchError
from accident_reco.settings import variable
from accident_reco.storage.clock import iso_now

LOCKS = ("stack", "platform", "pipeline")
"""Kinds of launchers, each before those that it starts."""
LOCK_SECONDS = 0.5
"""Wait for a lock: `is_locked` holds it for a moment."""

RESTORE_MARK = "restore-in-progress"
"""File of a home into which a restore is not complete."""


@contextmanager
def sole_platform(home: Path, kind: str = "platform") -> Iterator[None]:
    """Hold the lock of a home while its platform runs; the lock file has the process and its start.

    Args:
        kind: one of `LOCKS`.

    Raises:
        LaunchError: another launcher holds it.
    """
    with (home / f"{kind}.lock").open("a+", encoding="utf-8") as lock:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _lock(lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                lock.seek(0)
                fix = f"fix: `accident-reco stop`, or set {variable('home')}"
                raise LaunchError(f"a {kind} runs in {home} already{_describe_owner(lock.read())}; {fix}")
            time.sleep(0.05)
        lock.seek(0)
        lock.truncate()
        json.dump({"pid": os.getpid(), "since": iso_now()}, lock)
        lock.flush()
        yield


def is_locked(path: Path) -> bool:
    """Whether a launcher holds a lock file."""
    try:
        with path.open(encoding="utf-8") as lock:
            return not _lock(lock, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _describe_owner(text: str) -> str:
    """Process and start that the holder has written into its lock; empty in the moment before it has."""
    try:
        owner = json.loads(text)
    except ValueError:
        return ""
    return f" (process {owner['pid']} since {owner['since']})"


@contextmanager
def restoring(home: Path) -> Iterator[None]:
    """Mark a home while a backup is restored into it; the mark stays where that fails."""
    with private_files():
        home.mkdir(parents=True, exist_ok=True)
        (home / RESTORE_MARK).touch()
    yield
    (home / RESTORE_MARK).unlink()


def require_restored(home: Path) -> None:
    """Raises LaunchError for a home into which a restore was interrupted: nothing starts on a part."""
    if (home / RESTORE_MARK).exists():
        raise LaunchError(f"a restore into {home} is in progress or was interrupted; fix: remove it, and restore again")


def _lock(file: IO[str], kind: int) -> bool:
    """Lock a file until it is closed; returns whether nobody else holds it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
