"""Sends the head of a response together with its body."""

from __future__ import annotations

from typing import Any, Final

JOINED_BYTES: Final = 64 * 1024
"""A longer first part is not copied behind the head."""


class JoinedWrites:
    """A transport for one response, whose head of known length goes out with the first part of the body: one system
    call, one packet, and a client that wakes up once."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._head = b""
        self._is_begun = False

    def write(self, data: bytes) -> None:
        """Send, or keep the head that is to be sent with what follows."""
        if self._is_begun:
            self._transport.write(data)
        elif self._head:
            self._is_begun = True
            if len(data) > JOINED_BYTES:
                self._transport.write(self._head)
            else:
                data = self._head + data
            self._transport.write(data)
        elif b"\r\ncontent-length: " in data:
            self._head = data
        else:
            self._is_begun = not data.startswith(b"HTTP/1.1 100 ")
            self._transport.write(data)

    def close(self) -> None:
        """Send what is kept, then close."""
        if self._head and not self._is_begun:
            self._is_begun = True
            self._transport.write(self._head)
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
