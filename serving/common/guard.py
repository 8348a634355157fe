"""Authentication, authorization and rate limits of one service; decided before the body is read."""

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
from serving.common.jwks import Jwks, build_http_fetch
from serving.common.problems import Problem
from serving.common.rate import RateLimiter
from serving.common.revocations import Revocations
from serving.common.shared_rate import SharedRate
from serving.common.tokens import InvalidToken, TokenVerifier, UnknownKey

REALM: Final = "accident_reco"
UNAUTHORISED: Final = "Send valid credentials: Authorization: Bearer, then an access token, an API key or a secret."


class Precondition:
    """A dependency that `StrictRoute` checks before it reads the body; called as a dependency it does nothing more."""

    async def __call__(self) -> None:
        return None

    async def check(self, request: Request) -> None:
        """Raises Problem where the request is refused."""
        raise NotImplementedError


class AddressRate(Precondition):
    """Limits the request rate of each address, for endpoints without authentication."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard

    async def check(self, request: Request) -> None:
        """Raises Problem 429."""
        await self.guard.rate_limit_by_address(request)


class RequiredScope(Precondition):
    """Marks an endpoint with the scope that it requires: `dependencies=[guard.require("predict")]`."""

    def __init__(self, guard: Guard, scope: str) -> None:
        self.guard = guard
        self.scope = scope

    async def check(self, request: Request) -> None:
        """Set the request's principal. Raises Problem 401, 403, 429 or 503."""
        await self.guard.authorize(request, self.scope)


class Guard:
    """Authorizes the requests of one service.

    Args:
        current_scopes: current scopes of a principal, None where it may not be used any more; for a service that can
            read them. Blocks.
    """

    def __init__(
        self,
        settings: Settings,
        warehouse: Warehouse,
        jwks: Jwks,
        current_scopes: Callable[[Principal], frozenset[str] | None] | None = None,
    ) -> None:
        self._current_scopes = current_scopes
        self.required = settings.auth_required
        self.jwks = jwks
        self._verifier = TokenVerifier(jwks, settings.auth_issuer, settings.auth_audience)
        self._api_keys = ApiKeys(warehouse)
        self._revocations = Revocations(warehouse)
        self._rate = RateLimiter(settings.rate_per_second, settings.rate_burst)
        url, rates = settings.rate_redis_url, (settings.rate_per_second, settings.rate_burst)
        self._shared_rate = SharedRate(url, *rates) if url else None

    def start(self) -> None:
        """Keep the public keys and the revoked accounts fresh from now on."""
        if self.required:
            self.jwks.start()
            self._revocations.start()

    def stop(self) -> None:
        """Stop the background work."""
        self.jwks.stop()
        self._revocations.stop()

    async def close(self) -> None:
        """Close connections of the requests' event loop."""
        if self._shared_rate is not None:
            await self._shared_rate.close()

    def status(self) -> dict[str, Any]:
        """The guard's part of `/readyz`. Missing public keys do not make a service unready: API keys still work."""
        problem = self.jwks.problem if self.required else None
        found = {"auth": {"required": self.required} | ({"problem": problem} if problem else {})}
        if self._shared_rate is not None and self._shared_rate.problem:
            found["rates"] = {"problem": self._shared_rate.problem}
        return found

    def require(self, scope: str) -> Any:
        """Dependency of endpoints (or routers) that require `scope`. Raises ValueError for an unknown scope."""
        if scope not in SCOPES:
            raise ValueError(f"unknown scope {scope}; scopes are {', '.join(SCOPES)}")
        return Depends(RequiredScope(self, scope))

    def limit_addresses(self) -> Any:
        """Dependency of endpoints (or routers) without authentication."""
        return Depends(AddressRate(self))

    async def authorize(self, request: Request, scope: str) -> Principal:
        """Principal of the request, which has `scope`. Raises Problem 401, 403, 429 or 503."""
        principal = await self._authenticate(request) if self.required else ANONYMOUS
        if self._current_scopes is not None:
            scopes = await asyncio.to_thread(self._current_scopes, principal)
            if scopes is None:
                raise unauthorised(request, "the account is removed or disabled", "invalid_token")
            principal = replace(principal, scopes=principal.scopes & scopes)
        state = request.scope["state"]
        state["principal"], state["subject"] = principal, principal.subject
        await self._rate_limit(principal.subject if self.required else _get_address(request))
        if scope not in principal.scopes:
            challenge = f'Bearer realm="{REALM}", error="insufficient_scope", scope="{scope}"'
            raise Problem(
                403, f"This requires the scope {scope}.", kind="missing-scope", headers={"WWW-Authenticate": challenge}
            )
        return principal

    async def rate_limit_by_address(self, request: Request) -> None:
        """Count a request without authentication. Raises Problem 429."""
        await self._rate_limit(_get_address(request))

    async def _rate_limit(self, identity: str) -> None:
        # The process's own rate first: it bounds the requests to Redis, and holds while Redis is away.
        wait = self._rate.acquire(identity)
        if wait == 0 and self._shared_rate is not None:
            wait = await self._shared_rate.acquire(identity)
        if wait > 0:
            headers = {"Retry-After": str(max(1, math.ceil(wait)))}
            raise Problem(429, "Too many requests.", kind="rate-limited", headers=headers)

    async def _authenticate(self, request: Request) -> Principal:
        credentials = _get_credentials(request)
        if credentials is None:
            await self._rate_limit(_get_address(request))
            raise unauthorised(request, "no credentials")
        try:
            if credentials.startswith(PREFIX):
                return await self._verify_key(credentials)
            principal = await self._verify_token(credentials)
            if self._revocations.is_revoked(principal):
                raise InvalidToken("the account's tokens were revoked")
            return principal
        except InvalidToken as error:
            await self._rate_limit(_get_address(request))
            raise unauthorised(request, str(error), "invalid_token") from None

    async def _verify_key(self, key: str) -> Principal:
        is_cached, principal = self._api_keys.get_cached(key)
        if not is_cached:
            principal = await asyncio.to_thread(self._api_keys.look_up, key)
        if principal is None:
            raise InvalidToken("the API key is not valid")
        return principal

    async def _verify_token(self, token: str) -> Principal:
        try:
            return self._verifier.verify(token)
        except UnknownKey:
            if self.jwks.claim_refresh():
                await asyncio.to_thread(self.jwks.refresh)
            if not self.jwks.keys:
                detail = "The auth service's public keys are not available yet."
                raise Problem(503, detail, kind="auth-unavailable", headers={"Retry-After": "2"}) from None
            return self._verifier.verify(token)


def build_guard(settings: Settings, warehouse: Warehouse) -> Guard:
    """The guard of a service that verifies tokens with the auth service's published keys."""
    fetch = build_http_fetch(settings.keys_url)
    return Guard(settings, warehouse, Jwks(fetch, settings.home / "cache" / "jwks.json"))


def _get_credentials(request: Request) -> str | None:
    values = request.headers.getlist("authorization")
    if len(values) > 1:
        raise unauthorised(request, "several Authorization headers", "invalid_request")
    if values:
        scheme, _, credentials = values[0].partition(" ")
        if scheme.lower() != "bearer" or not credentials.strip():
            raise unauthorised(request, "the Authorization header is not: Bearer <token>", "invalid_request")
        return credentials.strip()
    return request.headers.get("x-api-key")


def unauthorised(request: Request, reason: str, error: str | None = None, realm: str = REALM) -> Problem:
    """The 401 of every endpoint, in the same words: what is wrong with credentials is for the log alone.

    Args:
        error: code of RFC 6750, absent where there were no credentials.
    """
    request.scope["state"]["refusal"] = reason
    challenge = f'Bearer realm="{realm}"' + (f', error="{error}"' if error else "")
    return Problem(401, UNAUTHORISED, kind="unauthorised", headers={"WWW-Authenticate": challenge})


def _get_address(request: Request) -> str:
    return f"address:{request.client.host if request.client else ''}"
