"""`POST /token`, `POST /token/revoke`, `GET /.well-known/jwks.json`: the open endpoints of the auth service."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from accident_reco.storage import accounts
from serving.auth.context import Context
from serving.auth.issuing import granted, hash_of
from serving.common.app import json_response, new_router
from serving.common.identity import ACCOUNT_NAME
from serving.common.problems import Problem, responses

FREE_TRIES: Final = {"account": 5, "address": 20}
LONGEST_WAIT: Final = 900.0
# Whatever else is said to be a name is no account's; a database need not be asked (PostgreSQL takes no NUL).
_POSSIBLE_NAME: Final = re.compile(rf"{ACCOUNT_NAME}\Z")


class TokenAnswer(BaseModel):
    """Tokens of a login or a refresh (RFC 6749)."""

    access_token: str = Field(description="Bearer token for the services (a signed JWT)")
    token_type: str
    expires_in: int = Field(description="Seconds until the access token expires")
    refresh_token: str = Field(description="Gets the next tokens, once")
    scope: str = Field(description="Scopes granted, separated by spaces")


def backoff(kind: str, failures: int) -> float:
    """Seconds to wait after so many failures in a row: none at first, then doubling up to a quarter of an hour."""
    over = failures - FREE_TRIES[kind]
    return 0.0 if over < 0 else min(LONGEST_WAIT, 2.0 ** min(over, 30))


def failure_keys(name: str, address: str) -> dict[str, str]:
    """Kind → key of the counters that a login of this account from this address belongs to."""
    return {"account": "account:" + hashlib.sha256(name.encode()).hexdigest(), "address": f"address:{address[:60]}"}


def _refused(error: str, detail: str) -> Problem:
    # RFC 6749's own member beside the problem's: OAuth clients look for it.
    return Problem(400, detail, kind=error.replace("_", "-"), error=error, error_description=detail)


def router(context: Context) -> APIRouter:
    """The endpoints."""
    routes = new_router("tokens")
    routes.dependencies.append(Depends(context.guard.slow_strangers))
    logins = context.metrics.counter("logins", "Logins and refreshes by outcome", ("grant", "outcome"))

    @routes.post(
        "/token",
        summary="Get tokens by password or by refresh token",
        response_model=TokenAnswer,
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
            answer = await _by_password(context, request, username.strip().lower(), password, scope)
        else:
            answer = await _by_refresh_token(context, request, refresh_token, scope)
        logins.labels(grant_type, "ok").inc()
        return json_response(answer, headers={"cache-control": "no-store", "pragma": "no-cache"})

    @routes.post(
        "/token/revoke",
        summary="End a login: its refresh tokens are worth nothing from now on",
        description="Answers 200 whether or not the token was known (RFC 7009). Access tokens end by themselves.",
        response_model=dict[str, str],
        responses=responses(429),
    )
    async def revoke(request: Request, token: Annotated[str, Form(min_length=1, max_length=4096)]) -> Response:
        name = await asyncio.to_thread(accounts.revoke_family_of, context.warehouse, hash_of(token))
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


async def _by_password(context: Context, request: Request, name: str, password: str, scope: str) -> dict[str, Any]:
    # Looked at, checked and counted in one turn: tries that come at once do not slip past each other's failures.
    async with context.passwords.turn():
        user = await _known_by_password(context, request, name, password)
    scopes = granted(user["role"], scope)
    if not scopes:
        raise _refused("invalid_scope", "The account has none of the scopes that were asked for.")
    await context.audit(request, "login", actor=name)
    return await asyncio.to_thread(context.issuer.begin, user, scopes)


async def _known_by_password(context: Context, request: Request, name: str, password: str) -> dict[str, Any]:
    address = request.client.host if request.client else ""
    keys = failure_keys(name, address)
    wait = await asyncio.to_thread(accounts.blocked_for, context.warehouse, list(keys.values()))
    if wait > 0:
        raise Problem(
            429,
            "Too many failed logins; wait before the next try.",
            kind="login-blocked",
            headers={"Retry-After": str(math.ceil(wait))},
        )
    user = await asyncio.to_thread(accounts.user, context.warehouse, name) if _POSSIBLE_NAME.match(name) else None
    good, renewed = await context.passwords.check(password, user["password_hash"] if user else None)
    if user is None or not good or user["disabled"]:
        waits = {key: lambda failures, kind=kind: backoff(kind, failures) for kind, key in keys.items()}
        await asyncio.to_thread(accounts.record_failure, context.warehouse, waits)
        await context.audit(request, "login", actor=name[:64] if user else "unknown", outcome="refused")
        raise Problem(
            401,
            "Wrong user name or password.",
            kind="wrong-credentials",
            error="invalid_grant",
            headers={"WWW-Authenticate": 'Bearer realm="accident_reco"'},
        )
    await asyncio.to_thread(accounts.forget_failures, context.warehouse, [keys["account"]])
    if renewed is not None:
        await asyncio.to_thread(
            accounts.change_user, context.warehouse, name, {"password_hash": renewed}, keep_an_admin=False
        )
    return user


async def _by_refresh_token(context: Context, request: Request, token: str, scope: str) -> dict[str, Any]:
    outcome, row, answer = await asyncio.to_thread(context.issuer.go_on, token, scope)
    if outcome == "reused" and row is not None:
        await context.audit(
            request, "token.reuse", actor=row["user_name"], outcome="refused", detail={"family": row["family"]}
        )
    if outcome == "no scope":
        raise _refused("invalid_scope", "The account has none of the scopes that were asked for (any more).")
    if answer is None:
        raise _refused("invalid_grant", "The refresh token is not valid (any more); log in again.")
    return answer
