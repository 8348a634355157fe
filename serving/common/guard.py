"""Lets a request in or not: token or API key, scope, rate. Decides before the body is read."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from fastapi import Depends
from starlette.requests import Request

from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from serving.common.api_keys import PREFIX, ApiKeys
from serving.common.identity import ANONYMOUS, SCOPES, Principal
from serving.common.jwks import Jwks, http_fetch
from serving.common.problems import Problem
from serving.common.rate import RateLimiter
from serving.common.tokens import InvalidToken, TokenVerifier, UnknownKey

REALM: Final = "accident_reco"


class Needs:
    """Marks an endpoint with the scope it needs: `dependencies=[guard.needs("predict")]`.

    The route class asks `check` before it reads the body; as a dependency it has nothing left to do.
    """

    def __init__(self, guard: Guard, scope: str) -> None:
        self.guard = guard
        self.scope = scope

    async def __call__(self) -> None:
        return None

    async def check(self, request: Request) -> None:
        """Raises Problem 401, 403 or 429; else the request has a principal."""
        await self.guard.admit(request, self.scope)


class Guard:
    """The door of one service.

    Args:
        present: what a principal may do as of now, None when nothing any more; for a service that can ask. Blocks.
    """

    def __init__(
        self,
        settings: Settings,
        warehouse: Warehouse,
        jwks: Jwks,
        present: Callable[[Principal], frozenset[str] | None] | None = None,
    ) -> None:
        self._present = present
        self.required = settings.auth_required
        self.jwks = jwks
        self._verifier = TokenVerifier(jwks, settings.auth_issuer, settings.auth_audience)
        self._api_keys = ApiKeys(warehouse)
        self._rate = RateLimiter(settings.rate_per_second, settings.rate_burst)

    def start(self) -> None:
        """Begin to keep the keys fresh."""
        if self.required:
            self.jwks.start()

    def stop(self) -> None:
        """End what `start` began."""
        self.jwks.stop()

    def status(self) -> dict[str, Any]:
        """What `/readyz` says: not having the keys (yet) keeps nobody from asking with an API key."""
        problem = self.jwks.problem if self.required else None
        return {"auth": {"required": self.required} | ({"problem": problem} if problem else {})}

    def needs(self, scope: str) -> Any:
        """Dependency for endpoints (or routers) that need `scope`."""
        if scope not in SCOPES:
            raise ValueError(f"{scope} is no scope; scopes are {', '.join(SCOPES)}")
        return Depends(Needs(self, scope))

    async def admit(self, request: Request, scope: str) -> Principal:
        """Who asks, if they may. Raises Problem 401, 403, 429 or 503."""
        principal = await self._authenticate(request) if self.required else ANONYMOUS
        if self._present is not None:
            scopes = await asyncio.to_thread(self._present, principal)
            if scopes is None:
                raise _unauthorised("The account may not be used any more.", "invalid_token")
            principal = replace(principal, scopes=principal.scopes & scopes)
        state = request.scope["state"]
        state["principal"], state["subject"] = principal, principal.subject
        self._slow_down(principal.subject if self.required else _address(request))
        if scope not in principal.scopes:
            raise Problem(
                403,
                f"This needs the scope {scope}.",
                kind="missing-scope",
                headers={"WWW-Authenticate": f'Bearer realm="{REALM}", error="insufficient_scope", scope="{scope}"'},
            )
        return principal

    async def _authenticate(self, request: Request) -> Principal:
        credentials = _credentials(request)
        if credentials is None:
            self._slow_down(_address(request))
            raise _unauthorised("Send a bearer token or an API key.", None)
        try:
            if credentials.startswith(PREFIX):
                return await self._by_key(credentials)
            return await self._by_token(credentials)
        except InvalidToken as error:
            self._slow_down(_address(request))
            raise _unauthorised(f"{str(error)[0].upper()}{str(error)[1:]}.", "invalid_token") from None

    async def _by_key(self, key: str) -> Principal:
        known, principal = self._api_keys.remembered(key)
        if not known:
            principal = await asyncio.to_thread(self._api_keys.look_up, key)
        if principal is None:
            raise InvalidToken("the API key is not valid")
        return principal

    async def _by_token(self, token: str) -> Principal:
        try:
            return self._verifier.verify(token)
        except UnknownKey:
            if self.jwks.claim_refresh():
                await asyncio.to_thread(self.jwks.refresh)
            if not self.jwks.keys:
                raise Problem(
                    503,
                    "The auth service's keys are not known yet.",
                    kind="auth-unavailable",
                    headers={"Retry-After": "2"},
                ) from None
            return self._verifier.verify(token)

    async def slow_strangers(self, request: Request) -> None:
        """Dependency of endpoints that anybody may ask: so many requests from one address. Raises Problem 429."""
        self._slow_down(_address(request))

    def _slow_down(self, identity: str) -> None:
        wait = self._rate.wait(identity)
        if wait > 0:
            raise Problem(
                429, "Too many requests.", kind="rate-limited", headers={"Retry-After": str(max(1, math.ceil(wait)))}
            )


def make_guard(settings: Settings, warehouse: Warehouse) -> Guard:
    """The guard of a service that verifies with the auth service's published keys."""
    fetch = http_fetch(settings.keys_url)
    return Guard(settings, warehouse, Jwks(fetch, settings.home / "cache" / "jwks.json"))


def _credentials(request: Request) -> str | None:
    values = request.headers.getlist("authorization")
    if len(values) > 1:
        raise _unauthorised("Send one Authorization header.", "invalid_request")
    if values:
        scheme, _, credentials = values[0].partition(" ")
        if scheme.lower() != "bearer" or not credentials.strip():
            raise _unauthorised("The Authorization header must be: Bearer <token>.", "invalid_request")
        return credentials.strip()
    return request.headers.get("x-api-key")


def _unauthorised(detail: str, error: str | None) -> Problem:
    challenge = f'Bearer realm="{REALM}"' + (f', error="{error}"' if error else "")
    return Problem(401, detail, kind="unauthorised", headers={"WWW-Authenticate": challenge})


def _address(request: Request) -> str:
    return f"address:{request.client.host if request.client else ''}"
