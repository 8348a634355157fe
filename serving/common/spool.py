"""A pipe with a disk in it: who writes never waits for who reads, and memory stays flat.

Many HTTP clients send a whole body before they read a byte of the answer. Answering while reading would block both
sides for ever as soon as the socket buffers are full; here the answer waits in an unlinked file instead.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Final

CHUNK: Final = 64 * 1024
MEMORY_BYTES: Final = 1024**2
"""What a spool keeps in memory; more is in an unlinked temporary file."""


class Spool:
    """Written by one task, read by another, in one event loop."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - closed by `close`
        self._written = 0
        self._done = False
        self._more = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.seek(0, 2)
        self._file.write(data)
        self._written += len(data)
        self._more.set()

    def finish(self) -> None:
        """Nothing more will be written."""
        self._done = True
        self._more.set()

    async def read(self) -> AsyncIterator[bytes]:
        """Everything that is written, as it is written."""
        offset = 0
        while True:
            if offset < self._written:
                self._file.seek(offset)
                data = self._file.read(min(CHUNK, self._written - offset))
                offset += len(data)
                yield data
            elif self._done:
                return
            else:
                self._more.clear()
                await self._more.wait()

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()
