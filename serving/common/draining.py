"""Stops a server without resetting a connection: new ones are held off, and those that were accepted are answered.

A closed listener resets what waits in its queue, and so does a closed connection whose request is on its way. Therefore
the listener first ignores new connections, which try again and are then refused, and stays open until its queue is
empty and every connection that has not sent a request had the time to.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, Protocol

FRESH_SECONDS: Final = 1.0
"""Time for the first request of a connection after the listener ignores new ones."""
KEPT_SECONDS: Final = 0.5
"""The same for the next request of a connection that is kept alive."""
_SO_ATTACH_FILTER: Final = 26
_TCP_INFO: Final = 11
_QUEUE_OFFSET: Final = 24  # tcpi_unacked in struct tcp_info: for a listener, connections that wait to be accepted


class Connection(Protocol):
    """State of a connection of the server."""

    @property
    def is_fresh(self) -> bool:
        """Whether no request has begun on it."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress on it."""


def ignore_new_connections(listeners: Iterable[socket.socket]) -> None:
    """Drop every packet that arrives at the listeners (Linux): a client's kernel repeats it after a second."""
    if sys.platform != "linux":
        return
    # A packet filter of one instruction: return 0, keep no byte.
    instruction = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))
    program = struct.pack("@HP", 1, ctypes.addressof(instruction))
    for listener in listeners:
        with suppress(OSError):  # closed already
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def count_waiting(listener: socket.socket) -> int:
    """Connections that the kernel has established and nobody has accepted; 0 where the system does not say."""
    if sys.platform != "linux":
        return 0
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _QUEUE_OFFSET + 4)
    except OSError:
        return 0
    return int(struct.unpack_from("=I", info, _QUEUE_OFFSET)[0])


async def wait_until_quiet(
    listeners: Iterable[socket.socket], connections: Iterable[Connection], closes_listener: bool
) -> None:
    """Wait until nothing waits to be accepted and no request is about to arrive, for at most `FRESH_SECONDS`.

    Args:
        connections: the open ones; read again each time.
        closes_listener: whether this process alone has the listeners, and may close them to new connections.
    """
    copies = [socket.socket(fileno=os.dup(listener.fileno())) for listener in listeners]
    try:
        if closes_listener:
            ignore_new_connections(copies)
        started = time.monotonic()
        while (elapsed := time.monotonic() - started) < FRESH_SECONDS:
            # Twice the interval: what was accepted in one round is seen in the next.
            await asyncio.sleep(0.02)
            is_expected = any(c.is_fresh or (c.is_idle and elapsed < KEPT_SECONDS) for c in list(connections))
            if not is_expected and not any(map(count_waiting, copies)):
                return
    finally:
        for copy in copies:
            copy.close()
