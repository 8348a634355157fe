"""A store and a warehouse with points at their reads and writes, at which a test ends the process, fails a connection
or runs another process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from accident_reco.storage.objects import ObjectStore, StoreError
from accident_reco.storage.warehouse import Warehouse


class Killed(BaseException):
    """The process ended here: no handler of the code under test may catch it."""


@dataclass
class Fault:
    """Something that happens once, when the `at`-th point (before a read, before or after a write) is reached."""

    at: int = 0
    action: Callable[[Fault], None] = lambda _fault: None
    reached: int = 0
    down: str = ""

    def reach(self) -> None:
        self.reached += 1
        if self.reached == self.at:
            self.action(self)


class WatchedStore(ObjectStore):
    """A real store with points at reads of a pointer and around writes; keeps the pointers that were written."""

    def __init__(self, inner: ObjectStore, fault: Fault, moves: list[bytes]) -> None:
        super().__init__(inner.url)
        self.inner, self.fault, self.moves = inner, fault, moves

    def _up(self) -> ObjectStore:
        if self.fault.down == "store":
            raise StoreError(f"{self.url} cannot be reached")
        return self.inner

    def _write(self, write: Callable[[], Any]) -> Any:
        self._up()
        self.fault.reach()
        self._up()
        answer = write()
        self.fault.reach()
        return answer

    def open(self, key: str) -> IO[bytes]:
        return self._up().open(key)

    def read(self, key: str) -> bytes:
        return self._up().read(key)

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        self.fault.reach()
        return self._up().read_tagged(key)

    def exists(self, key: str) -> bool:
        return self._up().exists(key)

    def list(self, prefix: str = "") -> list[str]:
        return self._up().list(prefix)

    def write(self, key: str, data: bytes | IO[bytes]) -> None:
        self._write(lambda: self.inner.write(key, data))

    def create(self, key: str, data: bytes) -> str:
        return str(self._write(lambda: self.inner.create(key, data)))

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        def swapped() -> str:
            tag = self.inner.swap(key, data, expected)
            self.moves.append(data)
            return tag

        return str(self._write(swapped))

    def delete(self, key: str) -> None:
        self._write(lambda: self.inner.delete(key))


class WatchedWarehouse(Warehouse):
    """A real database with points before each transaction, and after each that writes."""

    def __init__(self, inner: Warehouse, fault: Fault) -> None:
        super().__init__(inner.url.render_as_string(hide_password=False))
        self._engine, self.fault = inner.engine, fault

    def _up(self) -> None:
        if self.fault.down == "warehouse":
            raise OperationalError("connect", None, ConnectionError("connection refused"))

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        self._up()
        self.fault.reach()
        self._up()
        with super().begin() as connection:
            yield connection
        self.fault.reach()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        self.fault.reach()
        self._up()
        with super().connect() as connection:
            yield connection


def kill(_fault: Fault) -> None:
    """An action: the process ends."""
    raise Killed
