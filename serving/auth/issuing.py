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


def hash_token(token: str) -> str:
    """SHA-256 in hex, the only form in which a refresh token (256 random bits) is stored."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def grant_scopes(role: str, requested: str) -> frozenset[str]:
    """Scopes of a role: the requested ones (separated by spaces) among them, all where none is requested."""
    allowed = ROLES[role]
    chosen = frozenset(requested.split())
    return allowed & chosen if chosen else allowed


class Issuer:
    """Issues the tokens of `POST /token`."""

    def __init__(self, settings: Settings, warehouse: Warehouse, keys: KeyRing) -> None:
        self._settings = settings
        self._warehouse = warehouse
        self._keys = keys

    def sign_access_token(self, subject: str, scopes: frozenset[str]) -> str:
        """A signed access token."""
        key = self._keys.signing()
        now = time.time()  # with its fraction: tokens of the second in which others are revoked are distinguished
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

    def issue(self, user: Mapping[str, Any], scopes: frozenset[str]) -> dict[str, Any]:
        """Access token and refresh token of a login, as the response has them. Blocks."""
        refresh_token = secrets.token_urlsafe(32)
        accounts.add_refresh_token(
            self._warehouse,
            hash_token(refresh_token),
            secrets.token_hex(16),
            user["name"],
            " ".join(sorted(scopes)),
            self._lifetime,
        )
        return self._build_response(user["name"], scopes, refresh_token)

    def refresh(self, token: str, requested: str = "") -> tuple[str, dict[str, Any] | None, dict[str, Any] | None]:
        """Exchange a refresh token, which is valid once. Blocks.

        Returns:
            Outcome (`ok`, `disabled`, `no scope`, or that of `accounts.use_refresh_token`), the token's row, and the
            new tokens where the outcome is `ok`.
        """
        refresh_token = secrets.token_urlsafe(32)
        outcome, row = accounts.use_refresh_token(
            self._warehouse, hash_token(token), hash_token(refresh_token), self._lifetime
        )
        if outcome != "ok" or row is None:
            return outcome, row, None
        user = accounts.user(self._warehouse, row["user_name"])
        if user is None or user["disabled"]:
            return "disabled", row, None
        # The role may have changed since the login.
        scopes = grant_scopes(user["role"], row["scope"])
        if requested.split():
            scopes &= frozenset(requested.split())
        if not scopes:
            return "no scope", row, None
        return outcome, row, self._build_response(user["name"], scopes, refresh_token)

    @property
    def _lifetime(self) -> timedelta:
        return timedelta(days=self._settings.refresh_token_days)

    def _build_response(self, name: str, scopes: frozenset[str], refresh_token: str) -> dict[str, Any]:
        return {
            "access_token": self.sign_access_token(name, scopes),
            "token_type": "bearer",
            "expires_in": self._settings.access_token_minutes * 60,
            "refresh_token": refresh_token,
            "scope": " ".join(sorted(scopes)),
        }
