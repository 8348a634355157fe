"""Rows that wait on disk while the database is away: a bounded folder of files, each complete or absent, oldest first.

Knows nothing of the database and of what the rows mean; when they are spilled and sent is in `prediction_log`. All
worker processes of a service share the folder: every one writes, one at a time reads.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAME: Final = re.compile(r"\d{17}-\d{6}-\d+\.jsonl")


def encode_row(row: Mapping[str, Any]) -> bytes:
    """A row as a line of JSON. Raises TypeError where JSON cannot hold a value."""
    return orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def count_rows(file: Path) -> int:
    """Rows of a spilled file, by its name."""
    return int(file.stem.rpartition("-")[2])


class Spill:
    """Files of at most `max_bytes` together (0: none) in one folder.

    A file is named after the time of its first row, a number that tells equal times apart, and its count of rows.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._reader: int | None = None
        self._claiming = threading.Lock()
        self._unremovable: set[Path] = set()

    def write(self, at: datetime, lines: Sequence[bytes]) -> bool:
        """Add a file of encoded rows; False when it does not fit.

        Args:
            at: time of the first row, by which the files are ordered.

        Raises:
            OSError: the disk is full, read-only or broken; nothing was added.
        """
        size = sum(map(len, lines))
        if size > self._max_bytes:
            return False
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._sole_writer():
            if size + self._stored_bytes() > self._max_bytes:
                return False
            # One name for all that is incomplete: what a killed process left is overwritten by the next.
            part = self._folder / "incomplete"
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
                output.writelines(lines)
                output.flush()
                os.fsync(output.fileno())
            part.rename(self._unused_name(at, len(lines)))
            _sync_folder(self._folder)
        return True

    def oldest(self) -> Path | None:
        """The file to send next; None when nothing waits, or when another process sends."""
        return min(self._readable(), default=None)

    def waiting_rows(self) -> int:
        """Rows on disk that this process is to send."""
        return sum(map(count_rows, self._readable()))

    def read(self, file: Path) -> list[dict[str, Any]]:
        """A file's rows. Raises OSError or ValueError when the disk did not keep them."""
        rows = [orjson.loads(line) for line in file.read_bytes().splitlines()]
        if len(rows) != count_rows(file):
            raise ValueError(f"{len(rows)} rows instead of {count_rows(file)}")
        try:
            return [{**row, "at": datetime.fromisoformat(row["at"])} for row in rows]
        except (LookupError, TypeError) as error:
            raise ValueError(f"not rows of a log: {error!r}") from error

    def remove(self, file: Path) -> None:
        """Forget a file, at least until the process starts again if the disk refuses."""
        try:
            file.unlink(missing_ok=True)
        except OSError:
            self._unremovable.add(file)

    def close(self) -> None:
        """Let another process send."""
        if self._reader is not None:
            os.close(self._reader)
            self._reader = None

    def _readable(self) -> list[Path]:
        return [file for file in self._files() if file not in self._unremovable] if self._is_reader() else []

    def _files(self) -> list[Path]:
        return [file for file in self._folder.glob("*") if _NAME.fullmatch(file.name)]

    def _stored_bytes(self) -> int:
        total = 0
        for file in self._files():
            try:
                total += file.stat().st_size
            except FileNotFoundError:  # sent meanwhile
                continue
        return total

    def _unused_name(self, at: datetime, rows: int) -> Path:
        time = f"{(at - _EPOCH) // timedelta(microseconds=1):017d}"
        number = len(list(self._folder.glob(f"{time}-*")))
        return self._folder / f"{time}-{number:06d}-{rows}.jsonl"

    def _is_reader(self) -> bool:
        """Whether this process reads the folder: the first to want it, until it ends."""
        with self._claiming:
            if self._reader is None:
                self._reader = _try_lock(self._folder / "reader.lock")
            return self._reader is not None

    @contextmanager
    def _sole_writer(self) -> Iterator[None]:
        with open(os.open(self._folder / "writer.lock", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _try_lock(file: Path) -> int | None:
    """A handle that holds the lock; None when another process has it, or nothing was ever spilled in the folder."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
