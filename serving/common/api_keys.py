"""Machines' keys: `ark_<id>_<secret>`. The secret is 256 random bits, so a plain hash of it is enough."""

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
_SHAPE: Final = re.compile(r"ark_([0-9a-f]{16})_([A-Za-z0-9_-]{43})\Z")
# A revoked key works for at most this long in a process that has just seen it.
REMEMBERED_SECONDS: Final = 10.0
_REMEMBERED: Final = 1_000


def new_key() -> tuple[str, str, str]:
    """A key's id, what its owner gets (once), and the hash that is kept."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return key_id, f"{PREFIX}{key_id}_{secret}", hash_of(secret)


def hash_of(secret: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiKeys:
    """Looks keys up in the warehouse and remembers the answer, good or bad, for some seconds."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._remembered: OrderedDict[str, tuple[Principal | None, float]] = OrderedDict()

    def remembered(self, key: str) -> tuple[bool, Principal | None]:
        """Whether the answer for this key is known, and the answer."""
        known = self._remembered.get(hash_of(key))
        if known is None or time.monotonic() > known[1]:
            return False, None
        return True, known[0]

    def look_up(self, key: str) -> Principal | None:
        """Who the key is for, None if it is no good. Blocks."""
        principal = self._ask(key)
        self._remembered[hash_of(key)] = (principal, time.monotonic() + REMEMBERED_SECONDS)
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return principal

    def _ask(self, key: str) -> Principal | None:
        match = _SHAPE.match(key)
        if match is None:
            return None
        key_id, secret = match.groups()
        row = accounts.api_key(self._warehouse, key_id)
        if row is None or not hmac.compare_digest(row["secret_hash"], hash_of(secret)):
            return None
        if row["revoked_at"] is not None or (row["expires_at"] and row["expires_at"] <= datetime.now(UTC)):
            return None
        return Principal(f"key:{key_id}", frozenset(row["scopes"]) & SCOPES.keys())
