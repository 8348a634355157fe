"""The kernel's timeout for responses that a client does not read, and when it does not apply: while a body is sent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any


class UnreadTimeout:
    """Takes the socket's timeout for unread responses off while the client sends a body, and sets it again afterwards.

    Many clients read nothing before they have sent everything; what is answered meanwhile fills their receive buffer,
    and the kernel would end the connection. The time between pieces of the body and its whole time stay limited. After
    the body (or when the connection is being closed) a full interval passes first, in which the client begins to read.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        is_receiving: Callable[[], bool],
        on_restored: Callable[[], None],
        seconds: float,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._is_receiving = is_receiving
        self._on_restored = on_restored
        self._seconds = seconds
        self._is_over = False
        set_unread_timeout(transport.get_extra_info("socket"), 0)
        self._timer = loop.call_later(seconds, self._check)

    def cancel(self) -> None:
        """The connection is lost: there is nothing to restore."""
        self._timer.cancel()

    def _check(self) -> None:
        is_receiving = self._is_receiving()
        if self._is_over and not is_receiving:
            set_unread_timeout(self._transport.get_extra_info("socket"), self._seconds)
            self._on_restored()
            return
        self._is_over = not is_receiving
        self._timer = self._loop.call_later(self._seconds, self._check)


def set_unread_timeout(connection: Any, seconds: float) -> None:
    """Set the time after which the kernel ends a connection whose client does not read, where it has one; 0: never."""
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
