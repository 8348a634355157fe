"""A network backend for httpcore that limits one HTTP exchange in time and bytes.

A read timeout restarts with every byte, so slow headers, endless interim responses (1xx) and chunk sizes never reach
it. Here every wait ends at the deadline, below the HTTP parser, and every received byte counts.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpcore


class TooManyBytes(Exception):
    """The peer sent more bytes than the exchange may have."""


@dataclass
class ExchangeLimits:
    """Limits of an exchange: `deadline` by `time.monotonic`, `max_bytes` and the bytes `received` so far."""

    deadline: float
    max_bytes: int
    received: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self.deadline

    def wait(self, timeout: float | None) -> float:
        """`timeout` in seconds, at most the time until the deadline. Raises httpcore.ReadTimeout after the deadline."""
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise httpcore.ReadTimeout("deadline")
        return remaining if timeout is None else min(timeout, remaining)

    def count(self, data: bytes) -> bytes:
        """Count received bytes. Returns `data`. Raises TooManyBytes."""
        self.received += len(data)
        if self.received > self.max_bytes:
            raise TooManyBytes
        return data


class BoundedBackend(httpcore.NetworkBackend):
    """Connects to one checked address, whatever host is requested."""

    def __init__(self, address: str, limits: ExchangeLimits) -> None:
        self._address, self._limits = address, limits
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
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
        # One timeout covers the whole handshake.
        stream = self._stream.start_tls(ssl_context, server_hostname, self._limits.wait(timeout))
        return _BoundedStream(stream, self._limits)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
