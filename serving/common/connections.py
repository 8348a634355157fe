"""Decides which connections of a process stay open: a bounded number, bounded for each address, idle ones closed first.

Pure bookkeeping: it knows nothing of HTTP; the protocol in `run` reports what its connections do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

HEADROOM: Final = 64
"""Connections above the limits while none is idle: their requests are refused in words, and probes are answered."""


class Closable(Protocol):
    """A connection."""

    def close_idle(self) -> None:
        """Close it; it has no request in progress."""


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of one process.

    Args:
        total: connections, or requests in progress, of all addresses.
        per_address: the same of one address.
        unlimited: addresses without a limit of their own, such as proxies that forward for many clients.
    """

    total: int = 1000
    per_address: int = 500
    unlimited: frozenset[str] = frozenset()


class ConnectionTable:
    """The open connections of a process."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        # Address → its connections: those in use, and the idle ones, longest idle first (dicts keep their order).
        self._used: dict[str, dict[Closable, None]] = {}
        self._idle: dict[str, dict[Closable, None]] = {}
        self._all_idle: dict[Closable, str] = {}
        self._n_used = 0

    def add(self, connection: Closable, address: str) -> bool:
        """Register a new connection, and close the longest idle one where there are too many.

        Returns:
            False where the connection must be closed at once: too many are in use.
        """
        self._set_idle(connection, address)
        return self._make_room(connection, address, is_of_address=True) and self._make_room(
            connection, address, is_of_address=False
        )

    def _make_room(self, connection: Closable, address: str, *, is_of_address: bool) -> bool:
        """Close the longest idle connection (of the address alone) above the limit; False where none is idle."""
        idle: Mapping[Closable, object]
        if is_of_address:
            idle, excess = self._idle[address], self._count(address) - self._limit(address)
        else:
            idle, excess = self._all_idle, self._n_used + len(self._all_idle) - self._limits.total
        if excess <= 0:
            return True
        oldest = next(iter(idle))
        if oldest is not connection:
            self.remove(oldest, self._all_idle[oldest])
            oldest.close_idle()
        elif excess > HEADROOM:
            self.remove(connection, address)
            return False
        return True

    def begin(self, connection: Closable, address: str) -> bool:
        """A request begins. Returns False where too many are in progress: it must be refused, unless it is a probe."""
        if connection in self._all_idle:
            self._drop_idle(connection, address)
            self._used.setdefault(address, {})[connection] = None
            self._n_used += 1
        return self._n_used <= self._limits.total and len(self._used.get(address, ())) <= self._limit(address)

    def end(self, connection: Closable, address: str) -> None:
        """The last request of a connection has ended."""
        if connection in self._used.get(address, ()):
            self._drop_used(connection, address)
            self._set_idle(connection, address)

    def remove(self, connection: Closable, address: str) -> None:
        """A connection is closed."""
        if connection in self._all_idle:
            self._drop_idle(connection, address)
        elif connection in self._used.get(address, ()):
            self._drop_used(connection, address)

    def _limit(self, address: str) -> int:
        return self._limits.total if address in self._limits.unlimited else self._limits.per_address

    def _count(self, address: str) -> int:
        return len(self._used.get(address, ())) + len(self._idle.get(address, ()))

    def _set_idle(self, connection: Closable, address: str) -> None:
        self._idle.setdefault(address, {})[connection] = None
        self._all_idle[connection] = address

    def _drop_idle(self, connection: Closable, address: str) -> None:
        del self._all_idle[connection]
        del self._idle[address][connection]
        if not self._idle[address]:
            del self._idle[address]

    def _drop_used(self, connection: Closable, address: str) -> None:
        self._n_used -= 1
        del self._used[address][connection]
        if not self._used[address]:
            del self._used[address]
