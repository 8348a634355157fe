"""The network below one HTTP exchange, limited in time and bytes whatever the peer sends. A backend for httpcore.

A read timeout alone restarts with every byte: a dripped head, interim responses (1xx) or chunk sizes without end never
reach it. Here every wait is cut at the deadline, below the HTTP parser, and every received byte counts.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpcore


class TooManyBytes(Exception):
    """The peer sent more than the exchange may cost."""


@dataclass
class ExchangeLimits:
    """What is left of an exchange. `deadline` is a time of `time.monotonic`; `received` counts all bytes."""

    deadline: float
    max_bytes: int
    received: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self.deadline

    def wait(self, timeout: float | None) -> float:
        """`timeout` in seconds, cut at the deadline. Raises httpcore.ReadTimeout when nothing is left."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("deadline")
        return left if timeout is None else min(timeout, left)

    def count(self, data: bytes) -> bytes:
        """`data`, counted. Raises TooManyBytes."""
        self.received += len(data)
        if self.received > self.max_bytes:
            raise TooManyBytes
        return data


class BoundedBackend(httpcore.NetworkBackend):
    """Connects to one address, whatever the host is called: it was resolved and checked before."""

    def __init__(self, address: str, limits: ExchangeLimits) -> None:
        self._address, self._limits = address, limits
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:  # fmt: skip
        """A connection to the checked address."""
        stream = self._backend.connect_tcp(
            self._address, port, self._limits.wait(timeout), local_address, socket_options
        )
        return _BoundedStream(stream, self._limits)


class _BoundedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, limits: ExchangeLimits) -> None:
        self._stream, self._limits = stream, limits

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._limits.count(self._stream.read(max_bytes, self._limits.wait(timeout)))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._limits.wait(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        # Python holds a whole handshake to one timeout.
        stream = self._stream.start_tls(ssl_context, server_hostname, self._limits.wait(timeout))
        return _BoundedStream(stream, self._limits)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
