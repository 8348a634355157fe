"""Log files of the platform's processes: the last lines of each, and new lines as they come."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from accident_reco.launch.processes import LaunchError

POLL_SECONDS = 0.2


def select_logs(folder: Path, service: str | None) -> list[Path]:
    """Log files of a service, or of all.

    Raises:
        LaunchError: there are none, or none of this service; the message lists those that exist.
    """
    found = sorted(folder.glob("*.log"))
    if not found:
        raise LaunchError(f"{folder} has no logs yet; fix: accident-reco up")
    chosen = [path for path in found if service in (None, path.stem)]
    if not chosen:
        raise LaunchError(f"there is no log of {service!r}; logs are {', '.join(path.stem for path in found)}")
    return chosen


def read_last_lines(path: Path, count: int) -> tuple[list[str], int]:
    """The last `count` lines of a file, and the position after them."""
    with path.open("rb") as file:
        lines = deque(file, maxlen=count)
        return [line.decode(errors="replace").rstrip("\n") for line in lines], file.tell()


def follow_logs(start: Mapping[Path, int]) -> Iterator[tuple[Path, str]]:
    """New complete lines of files, without end. A file that a restart replaced is read from its beginning.

    Args:
        start: file → position of the first new line.
    """
    positions = dict(start)
    rests = dict.fromkeys(positions, b"")
    while True:
        found = False
        for path in start:
            if path.stat().st_size < positions[path]:
                positions[path], rests[path] = 0, b""
            with path.open("rb") as file:
                file.seek(positions[path])
                new = file.read()
            positions[path] += len(new)
            *lines, rests[path] = (rests[path] + new).split(b"\n")
            for line in lines:
                found = True
                yield path, line.decode(errors="replace")
        if not found:
            time.sleep(POLL_SECONDS)
