"""Login of admins to the pages of Dagster and MLflow, with the tokens of the auth service behind a cookie.

The browser holds a random session id alone; tokens stay in this process. They are refreshed every half minute in use,
so that a removed or demoted admin loses the session then; while the auth service is away they last until they expire.
"""

from __future__ import annotations

import asyncio
import html
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final

import httpx

MAX_SESSIONS: Final = 1_000
# A token does not count any more so long before it expires.
MARGIN_SECONDS: Final = 5.0
CHECK_SECONDS: Final = 30.0
"""Age of a token at which the next request refreshes it, which shows whether the account is still an admin's."""
TIMEOUT_SECONDS: Final = 10.0
LOGIN_PATH: Final = "/guard/login"
LOGOUT_PATH: Final = "/guard/logout"


@dataclass
class Session:
    """A person who has logged in."""

    name: str
    refresh_token: str
    expires: float
    checked: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class LoginRefused(Exception):
    """The auth service did not accept the login; the message is for the person."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Sessions:
    """The sessions of one program. Used from one event loop; they end with the process.

    Args:
        token_url: `POST /token` of the auth service.
    """

    def __init__(self, token_url: str, program: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.cookie = f"accident_reco_{program}"
        self._url = token_url
        self._transport = transport
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    async def log_in(self, name: str, password: str, address: str) -> str:
        """Id of a new session of an admin. Raises LoginRefused."""
        form = {"grant_type": "password", "username": name, "password": password, "scope": "admin"}
        status, answer = await self._request(form, address)
        if status != 200:
            raise LoginRefused(*_explain(status, answer))
        session_id = secrets.token_urlsafe(32)
        now = time.monotonic()
        expires = now + answer["expires_in"] - MARGIN_SECONDS
        self._sessions[session_id] = Session(name.strip().lower(), answer["refresh_token"], expires, now)
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return session_id

    async def find_name(self, cookies: str, address: str) -> str | None:
        """Account of the session that a Cookie header names; None where there is none, or not any more."""
        session_id = self._read_cookie(cookies)
        session = self._sessions.get(session_id)
        if session is None:
            return None
        # A refresh token is valid once: parallel requests of a page must not use it twice.
        async with session.lock:
            if time.monotonic() < min(session.checked + CHECK_SECONDS, session.expires):
                return session.name
            status = await self._refresh(session, address)
        if status in (400, 401):  # not for an outage: the session continues after it
            self._sessions.pop(session_id, None)
            return None
        return session.name if status == 200 or time.monotonic() < session.expires else None

    async def log_out(self, cookies: str, address: str) -> None:
        """End a session, also in the auth service."""
        session = self._sessions.pop(self._read_cookie(cookies), None)
        if session is not None:
            await self._request({"token": session.refresh_token}, address, f"{self._url}/revoke")

    async def _refresh(self, session: Session, address: str) -> int:
        form = {"grant_type": "refresh_token", "refresh_token": session.refresh_token, "scope": "admin"}
        status, answer = await self._request(form, address)
        if status == 200:
            session.refresh_token = answer["refresh_token"]
            session.checked = time.monotonic()
            session.expires = session.checked + answer["expires_in"] - MARGIN_SECONDS
        return status

    async def _request(self, form: dict[str, str], address: str, url: str = "") -> tuple[int, dict[str, Any]]:
        headers = {"X-Forwarded-For": address} if address else {}
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, transport=self._transport) as client:
                answer = await client.post(url or self._url, data=form, headers=headers)
                return answer.status_code, answer.json()
        except (httpx.HTTPError, ValueError):
            return 503, {}

    def _read_cookie(self, header: str) -> str:
        try:
            morsel = SimpleCookie(header).get(self.cookie)
        except CookieError:
            return ""
        return morsel.value if morsel else ""


def _explain(status: int, answer: dict[str, Any]) -> tuple[int, str]:
    if status == 401:
        return 401, "Wrong user name or password."
    if status == 429:
        return 429, "Too many failed logins; wait before the next attempt."
    if answer.get("error") == "invalid_scope":
        return 403, "Only admins may log in here."
    return 503, "The auth service is not available now."


_PAGE: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="UTF-8"><title>Log in: {program}</title>
<meta name="viewport" content="width=device-width">
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:22rem;margin:15vh auto;padding:0 1rem}}
label,input,button{{display:block;width:100%;box-sizing:border-box;font:inherit}}
input,button{{padding:.5rem;margin:.2rem 0 1rem}}
p{{color:#b42318}}</style></head>
<body><h1>{program}</h1>{problem}<form method="post" action="{action}">
<label for="username">User name</label><input id="username" name="username" autocomplete="username" required autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button>Log in</button></form></body></html>
"""


def render_login(program: str, problem: str = "") -> bytes:
    """The login page."""
    shown = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
    return _PAGE.format(program=html.escape(program), problem=shown, action=LOGIN_PATH).encode()
