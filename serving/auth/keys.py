"""Signing keys: Ed25519, one file per key with mode 0600; the newest signs, the previous one still verifies."""

from __future__ import annotations

import os
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

KEPT_KEYS: Final = 2
# Interval at which a running service checks for rotated keys.
_CHECK_SECONDS: Final = 2.0


@dataclass(frozen=True)
class SigningKey:
    """One key with its id."""

    kid: str
    private: Ed25519PrivateKey

    def public_jwk(self) -> dict[str, Any]:
        """The public half as a JWKS entry."""
        entry: dict[str, Any] = OKPAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {**entry, "kid": self.kid, "use": "sig", "alg": "EdDSA"}


def write_secret(path: Path, content: bytes) -> None:
    """Write a secret that only its owner can read. Raises FileExistsError where the file exists."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


class KeyRing:
    """The keys in a directory. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._keys: list[SigningKey] = []
        self._names: list[str] = []
        self._checked_at = -_CHECK_SECONDS

    def ensure(self) -> None:
        """Create the first key where there is none."""
        if not self._list_files():
            self.rotate()

    def rotate(self) -> str:
        """Create a key that signs from now on; the previous one still verifies. Returns the id of the new key."""
        private = Ed25519PrivateKey.generate()
        content = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        kid = secrets.token_hex(8)
        # The time comes first in the name, so that names sort by age.
        write_secret(self._directory / f"jwt-{time.time_ns():020d}-{kid}.pem", content)
        for old in self._list_files()[:-KEPT_KEYS]:
            old.unlink(missing_ok=True)
        self._checked_at = -_CHECK_SECONDS
        return kid

    def signing(self) -> SigningKey:
        """The key that signs. Raises RuntimeError where there is none."""
        return self._load_current()[-1]

    def jwks(self) -> bytes:
        """The public keys as a JWKS document, newest first. Raises RuntimeError where there is none."""
        return orjson.dumps({"keys": [key.public_jwk() for key in reversed(self._load_current())]})

    def _list_files(self) -> list[Path]:
        return sorted(self._directory.glob("jwt-*.pem"))

    def _load_current(self) -> list[SigningKey]:
        with self._lock:
            if time.monotonic() - self._checked_at >= _CHECK_SECONDS:
                files = self._list_files()
                names = [file.name for file in files]
                if names != self._names:
                    self._keys = [_load(file) for file in files]
                    self._names = names
                self._checked_at = time.monotonic()
            if not self._keys:
                raise RuntimeError(f"there is no signing key in {self._directory}; run: python -m serving.auth init")
            return self._keys


def _load(file: Path) -> SigningKey:
    private = serialization.load_pem_private_key(file.read_bytes(), password=None)
    if not isinstance(private, Ed25519PrivateKey):
        raise RuntimeError(f"{file} is not an Ed25519 key")
    return SigningKey(file.stem.rpartition("-")[2], private)
