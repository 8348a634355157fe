"""Sends the head of a response together with its body."""

from __future__ import annotations

from typing import Any


class JoinedWrites:
    """A transport that sends the head of a response of known length with the first part of its body: one system call,
    one packet, and a client that wakes up once."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Send, or keep the head that is to be sent with what follows."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and b"\r\ncontent-length: " in data:
            self._head = data
            return
        self._transport.write(data)

    def close(self) -> None:
        """Send what is kept, then close."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
