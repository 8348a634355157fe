"""`POST /token`, `POST /token/revoke`, `GET /.well-known/jwks.json`: endpoints without authentication."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from accident_reco.storage import accounts
from serving.auth.context import Context
from serving.auth.issuing import grant_scopes, hash_token
from serving.common.app import build_router, json_response
from serving.common.identity import ACCOUNT_NAME
from serving.common.problems import Problem, responses

FREE_ATTEMPTS: Final = {"pair": 5, "known": 5, "address": 20, "account": 100}
MAX_WAITS: Final = {"pair": 900.0, "known": 30.0, "address": 900.0, "account": 30.0}
"""Seconds. An account can be blocked by anyone, from any address: never for long, and not where it is at home."""
MAX_FORM_BYTES: Final = 32 * 1024
"""The longest password of any characters, percent-encoded, with the other fields."""
# Other text cannot be the name of an account and is not looked up (PostgreSQL rejects NUL).
_VALID_NAME: Final = re.compile(rf"{ACCOUNT_NAME}\Z")


class TokenResponse(BaseModel):
    """Tokens of a login or a refresh (RFC 6749)."""

    access_token: str = Field(description="Bearer token for the services (a signed JWT)")
    token_type: str
    expires_in: int = Field(description="Seconds until the access token expires")
    refresh_token: str = Field(description="Exchanged for the next tokens; valid once")
    scope: str = Field(description="Scopes granted, separated by spaces")


def compute_backoff(kind: str, failures: int) -> float:
    """Seconds to wait after `failures` consecutive failures: zero at first, then doubling up to the kind's maximum.

    Args:
        kind: `pair` (one account from one address), `known` (the same, after a successful login), `address` (all
            accounts from it), `account` (from all addresses).
    """
    over = failures - FREE_ATTEMPTS[kind]
    return 0.0 if over < 0 else min(MAX_WAITS[kind], 2.0 ** min(over, 30))


def build_failure_keys(name: str, address: str) -> dict[str, str]:
    """Kind → key of the failure counters of an account and an address."""
    account = hashlib.sha256(name.encode()).hexdigest()
    pair = hashlib.sha256(f"{address[:60]}|{name}".encode()).hexdigest()
    return {"pair": f"pair:{pair}", "address": f"address:{address[:60]}", "account": f"account:{account}"}


def _oauth_problem(error: str, detail: str) -> Problem:
    # OAuth clients read the members of RFC 6749 beside those of the problem.
    return Problem(400, detail, kind=error.replace("_", "-"), error=error, error_description=detail)


def router(context: Context) -> APIRouter:
    """The endpoints; rate-limited by address."""
    routes = build_router("tokens", requires=context.guard.limit_addresses())
    logins = context.metrics.counter("logins", "Logins and refreshes by outcome", ("grant", "outcome"))

    @routes.post(
        "/token",
        summary="Issue tokens for a password or a refresh token",
        response_model=TokenResponse,
        responses=responses(400, 401, 429),
    )
    async def token(
        request: Request,
        grant_type: Annotated[str, Form(pattern="^(password|refresh_token)$")] = "password",
        username: Annotated[str, Form(max_length=64)] = "",
        password: Annotated[str, Form(max_length=1024, json_schema_extra={"format": "password"})] = "",
        refresh_token: Annotated[str, Form(max_length=4096)] = "",
        scope: Annotated[str, Form(max_length=256)] = "",
    ) -> Response:
        if grant_type == "password":
            tokens = await _log_in(context, request, username.strip().lower(), password, scope)
        else:
            tokens = await _refresh(context, request, refresh_token, scope)
        logins.labels(grant_type, "ok").inc()
        return json_response(tokens, headers={"cache-control": "no-store", "pragma": "no-cache"})

    @routes.post(
        "/token/revoke",
        summary="Log out: revoke the refresh tokens of a login",
        description="Returns 200 for unknown tokens too (RFC 7009). Access tokens stay valid until they expire.",
        response_model=dict[str, str],
        responses=responses(429),
    )
    async def revoke(request: Request, token: Annotated[str, Form(min_length=1, max_length=4096)]) -> Response:
        name = await asyncio.to_thread(accounts.revoke_family, context.warehouse, hash_token(token))
        if name is not None:
            await context.audit(request, "token.revoke", actor=name)
        return json_response({"status": "revoked"})

    @routes.get(
        "/.well-known/jwks.json",
        summary="Public keys that verify access tokens",
        response_model=dict[str, Any],
        responses=responses(429),
    )
    async def jwks() -> Response:
        return Response(
            context.keys.jwks(), media_type="application/json", headers={"cache-control": "public, max-age=60"}
        )

    return routes


async def _log_in(context: Context, request: Request, name: str, password: str, scope: str) -> dict[str, Any]:
    # Counters are read, checked and updated in one slot, so that parallel attempts count each other's failures.
    async with context.passwords.hashing_slot():
        user = await _authenticate(context, request, name, password)
    scopes = grant_scopes(user["role"], scope)
    if not scopes:
        raise _oauth_problem("invalid_scope", "The account has none of the requested scopes.")
    await context.audit(request, "login", actor=name)
    return await asyncio.to_thread(context.issuer.issue, user, scopes)


async def _authenticate(context: Context, request: Request, name: str, password: str) -> dict[str, Any]:
    address = request.client.host if request.client else ""
    keys = build_failure_keys(name, address)
    # Where the account has logged in before, others' failures do not count: they could hold the block for ever.
    is_known = await asyncio.to_thread(accounts.is_known, context.warehouse, keys["pair"])
    counted = [keys["pair"]] if is_known else list(keys.values())
    wait = await asyncio.to_thread(accounts.blocked_for, context.warehouse, counted)
    if wait > 0:
        raise Problem(
            429,
            "Too many failed logins; wait before the next attempt.",
            kind="login-blocked",
            headers={"Retry-After": str(math.ceil(wait))},
        )
    user = await asyncio.to_thread(accounts.user, context.warehouse, name) if _VALID_NAME.match(name) else None
    is_valid, new_hash = await context.passwords.check(password, user["password_hash"] if user else None)
    if user is None or not is_valid or user["disabled"]:
        kinds = keys | ({"known": keys["pair"]} if is_known else {})
        waits = {key: partial(compute_backoff, kind) for kind, key in kinds.items()}
        await asyncio.to_thread(accounts.record_failure, context.warehouse, waits)
        await context.audit(request, "login", actor=name[:64] if user else "unknown", outcome="refused")
        raise Problem(
            401,
            "Wrong user name or password.",
            kind="wrong-credentials",
            error="invalid_grant",
            headers={"WWW-Authenticate": 'Bearer realm="accident_reco"'},
        )
    await asyncio.to_thread(accounts.record_success, context.warehouse, keys["pair"], [keys["pair"], keys["account"]])
    if new_hash is not None:
        await asyncio.to_thread(
            accounts.change_user, context.warehouse, name, {"password_hash": new_hash}, keep_an_admin=False
        )
    return user


async def _refresh(context: Context, request: Request, token: str, scope: str) -> dict[str, Any]:
    outcome, row, tokens = await asyncio.to_thread(context.issuer.refresh, token, scope)
    if outcome == "reused" and row is not None:
        await context.audit(
            request, "token.reuse", actor=row["user_name"], outcome="refused", detail={"family": row["family"]}
        )
    if outcome == "no scope":
        raise _oauth_problem("invalid_scope", "The account has none of the requested scopes (any more).")
    if tokens is None:
        raise _oauth_problem("invalid_grant", "The refresh token is not valid (any more); log in again.")
    return tokens
