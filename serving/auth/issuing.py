"""Issues tokens: short-lived signed access tokens, rotating refresh tokens."""

from __future__ import annotations

import hashlib
import secrets
import time
from datetime import timedelta
from typing import Any

import jwt

from accident_reco.settings import Settings
from accident_reco.storage import accounts
from accident_reco.storage.warehouse import Warehouse
from serving.auth.keys import KeyRing
from serving.common.identity import ROLES
from serving.common.tokens import ALGORITHM, TOKEN_TYPE


def hash_of(token: str) -> str:
    """What is kept of a refresh token, which is 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def granted(role: str, wanted: str) -> frozenset[str]:
    """Scopes for a role: all of them, or those that were asked for and the role has."""
    allowed = ROLES[role]
    asked = frozenset(wanted.split())
    return allowed & asked if asked else allowed


class Issuer:
    """Makes the answers of `POST /token`."""

    def __init__(self, settings: Settings, warehouse: Warehouse, keys: KeyRing) -> None:
        self._settings = settings
        self._warehouse = warehouse
        self._keys = keys

    def access_token(self, subject: str, scopes: frozenset[str]) -> str:
        """A signed access token."""
        key = self._keys.signing()
        now = int(time.time())
        claims = {
            "iss": self._settings.auth_issuer,
            "aud": self._settings.auth_audience,
            "sub": subject,
            "scope": " ".join(sorted(scopes)),
            "jti": secrets.token_hex(16),
            "iat": now,
            "exp": now + self._settings.access_token_minutes * 60,
        }
        return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid, "typ": TOKEN_TYPE})

    def answer(self, user: dict[str, Any], scopes: frozenset[str], family: str | None = None) -> dict[str, Any]:
        """Access token and refresh token of a login (`family` None) or of its continuation. Blocks."""
        refresh = secrets.token_urlsafe(32)
        scope = " ".join(sorted(scopes))
        accounts.add_refresh_token(
            self._warehouse, hash_of(refresh), family or secrets.token_hex(16), user["name"], scope,
            timedelta(days=self._settings.refresh_token_days),
        )  # fmt: skip
        return {
            "access_token": self.access_token(user["name"], scopes),
            "token_type": "bearer",
            "expires_in": self._settings.access_token_minutes * 60,
            "refresh_token": refresh,
            "scope": scope,
        }
