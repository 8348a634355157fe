"""Object store over an fsspec URL: whole objects, never half-visible, with compare-and-swap.

Local files are swapped by rename under a lock, S3 objects by conditional put. Keys are relative POSIX paths that the
platform chooses; no name from a client becomes one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

CHUNK = 1 << 20


class StoreError(RuntimeError):
    """The object store failed or cannot be reached; the message names the object and the fix."""


class ObjectNotFound(StoreError):
    """No object has this key."""


class ObjectExists(StoreError):
    """`create` found an existing object."""


class SwapConflict(StoreError):
    """The object was changed between read and swap."""


class ObjectStore(ABC):
    """Objects below one URL."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @abstractmethod
    def open(self, key: str) -> IO[bytes]:
        """Binary stream over an object. Raises ObjectNotFound."""

    @abstractmethod
    def write(self, key: str, data: bytes | IO[bytes]) -> None:
        """Replace an object in one step: a reader sees the old content or the new, never a part."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> str:
        """Write an object that must not exist yet. Returns its tag. Raises ObjectExists."""

    @abstractmethod
    def read_tagged(self, key: str) -> tuple[bytes, str]:
        """The object and the tag that `swap` expects. Raises ObjectNotFound."""

    @abstractmethod
    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Replace an object if its tag is still `expected` (None: if it is absent). Returns the new tag.

        Raises:
            SwapConflict: the object has another tag; nothing changed.
        """

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether an object has this key."""

    @abstractmethod
    def list(self, prefix: str = "") -> list[str]:
        """Keys below a folder, sorted."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete an object; no error where there is none."""

    def list_tagged(self) -> dict[str, str]:
        """Key of every object → tag of its content; empty where the store has none without reading the content."""
        return dict.fromkeys(self.list(), "")

    def read(self, key: str) -> bytes:
        """The whole object. Raises ObjectNotFound."""
        with self.open(key) as stream:
            return stream.read()


def open_store(url: str) -> ObjectStore:
    """Object store at a URL: `file:///…`, or `s3://bucket/prefix` (endpoint and keys by the standard `AWS_*` names).

    Raises:
        StoreError: the scheme has no atomic write, so the model store would not be safe on it.
    """
    scheme = urlsplit(url).scheme
    if scheme in ("", "file"):
        return LocalStore(url)
    if scheme == "s3":
        from accident_reco.storage.s3 import S3Store

        return S3Store(url)
    raise StoreError(f"{url}: object stores are file:// or s3:// (anything that speaks the S3 API)")


class LocalStore(ObjectStore):
    """A directory. Writes go to a hidden file beside the target, are synced, then renamed over it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        parts = urlsplit(url)
        self.root = Path(unquote(parts.path) if parts.scheme == "file" else url).resolve()

    def _path(self, key: str) -> Path:
        path = (self.root / key).resolve()
        if not path.is_relative_to(self.root):
            raise StoreError(f"{key!r} leaves the object store")
        return path

    def open(self, key: str) -> IO[bytes]:
        try:
            return self._path(key).open("rb")
        except (FileNotFoundError, IsADirectoryError):
            raise ObjectNotFound(f"{self.url}/{key} does not exist") from None

    def write(self, key: str, data: bytes | IO[bytes]) -> None:
        with self._written(key, data) as temporary:
            os.replace(temporary, self._path(key))

    def create(self, key: str, data: bytes) -> str:
        with self._written(key, data) as temporary:
            try:
                os.link(temporary, self._path(key))  # fails if the name is taken, unlike rename
            except FileExistsError:
                raise ObjectExists(f"{self.url}/{key} already exists") from None
        return _tag(data)

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        data = self.read(key)
        return data, _tag(data)

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        with self._locked(key):
            current = _tag(self.read(key)) if self.exists(key) else None
            if current != expected:
                raise SwapConflict(f"{self.url}/{key} changed since it was read; read it and decide again")
            self.write(key, data)
        return _tag(data)

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str = "") -> list[str]:
        base = self._path(prefix) if prefix else self.root
        found = (Path(folder) / name for folder, _, names in os.walk(base) for name in names)
        return sorted(p.relative_to(self.root).as_posix() for p in found if not p.name.startswith("."))

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    @contextmanager
    def _written(self, key: str, data: bytes | IO[bytes]) -> Iterator[Path]:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        try:
            with temporary.open("xb") as stream:
                if isinstance(data, bytes):
                    stream.write(data)
                else:
                    shutil.copyfileobj(data, stream, CHUNK)
                stream.flush()
                os.fsync(stream.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # The lock file is never removed: a waiter may hold it open already.
        with path.with_name(f".{path.name}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
