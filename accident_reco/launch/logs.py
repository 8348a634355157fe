"""Log files of the platform's processes: the last lines of each, and new lines as they come."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
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


def read_last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines of a file."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, maxlen=count)]


def follow_logs(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """New complete lines of the files, without end. A file that a restart replaced is read from its beginning."""
    positions = {path: path.stat().st_size for path in paths}
    rests = dict.fromkeys(paths, b"")
    while True:
        found = False
        for path in paths:
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
