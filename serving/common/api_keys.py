"""API keys of machines: `ark_<id>_<secret>`. The secret is 256 random bits, so a plain hash of it is enough."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Final

from accident_reco.storage import accounts
from accident_reco.storage.warehouse import Warehouse
from serving.common.identity import SCOPES, Principal

PREFIX: Final = "ark_"
_PATTERN: Final = re.compile(r"ark_([0-9a-f]{16})_([A-Za-z0-9_-]{43})\Z")
# A revoked key works for at most this long in a process that has verified it before.
CACHE_SECONDS: Final = 10.0
_MAX_CACHED: Final = 1_000


def generate_key() -> tuple[str, str, str]:
    """Id of a new key, the key itself (shown once), and the hash that is stored."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return key_id, f"{PREFIX}{key_id}_{secret}", hash_secret(secret)


def hash_secret(secret: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiKeys:
    """Verifies keys against the warehouse; results, valid or not, are cached for `CACHE_SECONDS`."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._cache: OrderedDict[str, tuple[Principal | None, float]] = OrderedDict()

    def get_cached(self, key: str) -> tuple[bool, Principal | None]:
        """Whether a result for this key is cached, and the result."""
        cached = self._cache.get(hash_secret(key))
        if cached is None or time.monotonic() > cached[1]:
            return False, None
        return True, cached[0]

    def look_up(self, key: str) -> Principal | None:
        """Principal of the key, None if it is not valid. Blocks."""
        principal = self._read(key)
        self._cache[hash_secret(key)] = (principal, time.monotonic() + CACHE_SECONDS)
        while len(self._cache) > _MAX_CACHED:
            self._cache.popitem(last=False)
        return principal

    def _read(self, key: str) -> Principal | None:
        match = _PATTERN.match(key)
        if match is None:
            return None
        key_id, secret = match.groups()
        row = accounts.api_key(self._warehouse, key_id)
        if row is None or not hmac.compare_digest(row["secret_hash"], hash_secret(secret)):
            return None
        if row["revoked_at"] is not None or (row["expires_at"] and row["expires_at"] <= datetime.now(UTC)):
            return None
        return Principal(f"key:{key_id}", frozenset(row["scopes"]) & SCOPES.keys())
