"""Issues tokens: short-lived signed access tokens, rotating refresh tokens."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
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

    def begin(self, user: Mapping[str, Any], scopes: frozenset[str]) -> dict[str, Any]:
        """Access token and refresh token of a login. Blocks."""
        refresh = secrets.token_urlsafe(32)
        accounts.add_refresh_token(
            self._warehouse,
            hash_of(refresh),
            secrets.token_hex(16),
            user["name"],
            " ".join(sorted(scopes)),
            self._lifetime,
        )
        return self._answer(user["name"], scopes, refresh)

    def go_on(self, token: str, wanted: str = "") -> tuple[str, dict[str, Any] | None, dict[str, Any] | None]:
        """Use a refresh token up: what came of it, its row, and the next tokens when it was good. Blocks."""
        refresh = secrets.token_urlsafe(32)
        outcome, row = accounts.use_refresh_token(self._warehouse, hash_of(token), hash_of(refresh), self._lifetime)
        if outcome != "ok" or row is None:
            return outcome, row, None
        user = accounts.user(self._warehouse, row["user_name"])
        if user is None or user["disabled"]:
            return "disabled", row, None
        # A role that was taken away since the login takes its scopes along.
        scopes = granted(user["role"], row["scope"])
        if wanted.split():
            scopes &= frozenset(wanted.split())
        if not scopes:
            return "no scope", row, None
        return outcome, row, self._answer(user["name"], scopes, refresh)

    @property
    def _lifetime(self) -> timedelta:
        return timedelta(days=self._settings.refresh_token_days)

    def _answer(self, name: str, scopes: frozenset[str], refresh: str) -> dict[str, Any]:
        return {
            "access_token": self.access_token(name, scopes),
            "token_type": "bearer",
            "expires_in": self._settings.access_token_minutes * 60,
            "refresh_token": refresh,
            "scope": " ".join(sorted(scopes)),
        }
