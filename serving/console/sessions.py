"""Sessions of people: login, refresh, logout. The cookie is the only key; rows are shared by workers and replicas."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import httpx

from accident_reco.settings import Settings
from accident_reco.storage import console_sessions as rows
from accident_reco.storage.clock import utc_now
from accident_reco.storage.warehouse import Warehouse
from serving.console import sealing

COOKIE: Final = "accident_reco_console"
MAX_SESSIONS: Final = 10_000
# An access token is refreshed so long before it expires.
MARGIN: Final = timedelta(seconds=20)
LEASE: Final = timedelta(seconds=15)
"""A refresh token is valid once: one worker refreshes at a time, for at most so long."""
TIMEOUT_SECONDS: Final = 10.0
_WAIT_SECONDS: Final = 0.05


class SessionEnded(Exception):
    """The session is over (logged out, expired, account removed); the person logs in again."""


class LoginRefused(Exception):
    """The auth service did not accept a login; the message is for the person, `wait` seconds from now the next try."""

    def __init__(self, status: int, reason: str, wait: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.wait = wait


class AuthUnavailable(Exception):
    """The auth service does not answer; the session stays."""


@dataclass
class Session:
    """A person who has logged in.

    Args:
        secret: value of the cookie.
        name: account.
        scopes: those of the account's tokens, as of their last refresh.
    """

    secret: str
    name: str
    scopes: frozenset[str]
    sealed: str
    token_expires_at: datetime
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    @property
    def id(self) -> str:
        """Id of its row."""
        return sealing.derive_id(self.secret)

    @property
    def csrf_token(self) -> str:
        """Token that its forms carry."""
        return sealing.derive_csrf_token(self.secret)


class Sessions:
    """All sessions of the console.

    Args:
        client: of the auth service, with its base URL.
    """

    def __init__(self, settings: Settings, warehouse: Warehouse, client: httpx.AsyncClient) -> None:
        self._warehouse = warehouse
        self._client = client
        self._max_idle = timedelta(hours=settings.console_session_hours)
        self._max_age = timedelta(days=settings.refresh_token_days)

    async def log_in(self, name: str, password: str, address: str) -> Session:
        """A new session. Raises LoginRefused."""
        form = {"grant_type": "password", "username": name, "password": password}
        try:
            response = await self._post("/token", form, address)
        except AuthUnavailable:
            raise LoginRefused(503, "The auth service is not available now; try again in a moment.") from None
        if response.status_code != 200:
            raise _explain(response)
        answer = response.json()
        secret = sealing.new_secret()
        session = Session(secret, name.strip().lower(), frozenset(), "", utc_now())
        _take_tokens(session, answer)
        row = {
            "id": session.id,
            "user_name": session.name,
            "scope": answer["scope"],
            "sealed": session.sealed,
            "token_expires_at": session.token_expires_at,
        }
        await asyncio.to_thread(rows.add_session, self._warehouse, row, MAX_SESSIONS, self._max_idle)
        return session

    async def find(self, secret: str, *, is_use: bool = True) -> Session | None:
        """The session of a cookie; None where there is none (any more).

        Args:
            is_use: whether a person asks; a page that refreshes itself does not keep the session alive.
        """
        if not secret or len(secret) > 100:
            return None
        session_id = sealing.derive_id(secret)
        row = await asyncio.to_thread(
            rows.find_session, self._warehouse, session_id, self._max_idle, self._max_age, is_use
        )
        if row is None:
            return None
        scopes = frozenset(str(row["scope"]).split())
        return Session(secret, row["user_name"], scopes, row["sealed"], row["token_expires_at"])

    async def get_access_token(self, session: Session, address: str, rejected: str = "") -> str:
        """A valid access token of a session, refreshed where it expires soon.

        Args:
            rejected: token that a service did not accept; another one is returned.

        Raises:
            SessionEnded: the auth service issues no more tokens for it.
            AuthUnavailable: the auth service does not answer.
        """
        # A page calls several services at once: its first call refreshes for all of them.
        async with session.lock:
            token = self._open(session)["access"]
            if token == rejected or session.token_expires_at - MARGIN <= utc_now():
                await self._refresh(session, address)
                token = self._open(session)["access"]
        return token

    async def log_out(self, session: Session, address: str) -> None:
        """End a session, also in the auth service."""
        await asyncio.to_thread(rows.remove_session, self._warehouse, session.id)
        tokens = sealing.unseal(session.secret, session.sealed)
        if tokens is not None:
            with suppress(AuthUnavailable):  # nobody else has the token: the row that held it is gone
                await self._post("/token/revoke", {"token": tokens["refresh"]}, address)

    async def _refresh(self, session: Session, address: str) -> None:
        deadline = time.monotonic() + LEASE.total_seconds() + TIMEOUT_SECONDS
        while not await asyncio.to_thread(rows.claim_refresh, self._warehouse, session.id, session.sealed, LEASE):
            latest = await self.find(session.secret)
            if latest is None:
                raise SessionEnded
            if latest.sealed != session.sealed:  # another request has refreshed it
                session.sealed, session.scopes = latest.sealed, latest.scopes
                session.token_expires_at = latest.token_expires_at
                return
            if time.monotonic() > deadline:
                raise AuthUnavailable
            await asyncio.sleep(_WAIT_SECONDS)
        try:
            form = {"grant_type": "refresh_token", "refresh_token": self._open(session)["refresh"]}
            response = await self._post("/token", form, address)
        except AuthUnavailable:
            await asyncio.to_thread(rows.release_refresh, self._warehouse, session.id)
            raise
        if response.status_code in (400, 401):
            await asyncio.to_thread(rows.remove_session, self._warehouse, session.id)
            raise SessionEnded
        if response.status_code != 200:
            await asyncio.to_thread(rows.release_refresh, self._warehouse, session.id)
            raise AuthUnavailable
        answer = response.json()
        _take_tokens(session, answer)
        await asyncio.to_thread(
            rows.replace_tokens,
            self._warehouse,
            session.id,
            session.sealed,
            answer["scope"],
            session.token_expires_at,
        )

    def _open(self, session: Session) -> dict[str, str]:
        tokens = sealing.unseal(session.secret, session.sealed)
        if tokens is None:
            raise SessionEnded
        return tokens

    async def _post(self, path: str, form: Mapping[str, str], address: str) -> httpx.Response:
        headers = {"X-Forwarded-For": address} if address else {}
        try:
            return await self._client.post(path, data=dict(form), headers=headers, timeout=TIMEOUT_SECONDS)
        except httpx.HTTPError:
            raise AuthUnavailable from None


def _take_tokens(session: Session, answer: Mapping[str, Any]) -> None:
    lifetime = timedelta(seconds=answer["expires_in"])
    session.sealed = sealing.seal(
        session.secret, {"access": answer["access_token"], "refresh": answer["refresh_token"]}
    )
    session.scopes = frozenset(str(answer["scope"]).split())
    session.token_expires_at = utc_now() + lifetime


def _explain(response: httpx.Response) -> LoginRefused:
    status = response.status_code
    if status == 401:
        return LoginRefused(401, "Wrong user name or password.")
    if status == 429:
        wait = response.headers.get("retry-after", "")
        seconds = f" {wait} s" if wait else ""
        return LoginRefused(429, f"Too many failed logins; wait{seconds} before the next attempt.", wait)
    if status in (400, 422):
        return LoginRefused(400, "Enter a user name and a password.")
    return LoginRefused(503, "The auth service is not available now; try again in a moment.")
