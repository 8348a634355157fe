"""Builds the auth service. Building the app opens no resources."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError
from starlette.middleware.cors import CORSMiddleware

from accident_reco.settings import Settings
from accident_reco.storage import accounts
from accident_reco.storage.warehouse import Warehouse
from serving.auth import admin, login
from serving.auth.context import Context
from serving.auth.issuing import Issuer
from serving.auth.keys import KeyRing
from serving.auth.passwords import Passwords
from serving.common import logs
from serving.common.app import Readiness, Service, build_app, default_limits
from serving.common.guard import Guard
from serving.common.identity import ROLES, Principal
from serving.common.jwks import Jwks
from serving.common.metrics import Metrics

NAME = "auth"
_TAGS = (
    {"name": "tokens", "description": "Log in, refresh, log out"},
    {"name": "accounts", "description": "Accounts, API keys, audit log"},
    {"name": "operations", "description": "Health and metrics"},
)


def create_app(settings: Settings) -> FastAPI:
    """The app. A signing key and an admin must exist before it can issue tokens (see `bootstrap`)."""
    # Accounts always require authentication, also where the setting turns it off for the other services.
    settings = settings.model_copy(update={"auth_required": True})
    metrics = Metrics()
    warehouse = Warehouse(settings.database, must_exist=True)
    keys = KeyRing(settings.keys)
    context = Context(
        settings=settings,
        metrics=metrics,
        warehouse=warehouse,
        keys=keys,
        passwords=Passwords(),
        issuer=Issuer(settings, warehouse, keys),
        guard=Guard(settings, warehouse, Jwks(keys.jwks, cache=None), partial(_read_current_scopes, warehouse)),
    )

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        context.guard.jwks.refresh()
        await context.passwords.warm_up()
        await asyncio.to_thread(_revoke_unfounded_keys, warehouse)
        try:
            yield
        finally:
            await context.guard.close()
            warehouse.close()

    limits = default_limits(settings)
    form_limits = replace(limits, body_bytes=min(login.MAX_FORM_BYTES, limits.body_bytes))
    service = Service(
        name=NAME,
        title="accident_reco auth",
        description="Issues the tokens that the other services verify; manages accounts and API keys.",
        routers=[login.router(context), admin.router(context)],
        readiness=lambda: _check_readiness(context),
        lifespan=lifespan,
        tags=_TAGS,
        special_limits=dict.fromkeys(("/token", "/token/revoke"), form_limits),
    )
    app = build_app(settings, service, metrics)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.allowed_docs_origins,
        allow_methods=["POST"],
        allow_headers=["Authorization", "Content-Type", "X-Requested-With"],
    )
    app.state.context = context
    return app


def _read_current_scopes(warehouse: Warehouse, principal: Principal) -> frozenset[str] | None:
    """Scopes of the current role of an account, not of the one at login; None where it is removed or disabled.

    None also for a token that has all its scopes still and was revoked: the password changed.
    """
    if principal.issued_at is None:  # an API key
        return principal.scopes
    user = accounts.user(warehouse, principal.subject)
    if user is None or user["disabled"]:
        return None
    scopes = ROLES[user["role"]]
    revoked_at = accounts.token_revocations(warehouse).get(principal.subject, 0.0)
    return None if principal.issued_at <= revoked_at and principal.scopes <= scopes else scopes


def _revoke_unfounded_keys(warehouse: Warehouse) -> None:
    """Revoke keys of accounts that were removed or restricted past this service."""
    try:
        revoked = accounts.restrict_all_keys(warehouse, ROLES)
        for key_id in revoked:
            accounts.audit(warehouse, "system", "key.revoke", target=key_id, detail={"reason": "its creator may not"})
    except SQLAlchemyError as error:  # the service starts while the warehouse is away
        logs.get("lifecycle").warning("keys not checked", error=type(error).__name__)


def _check_readiness(context: Context) -> Readiness:
    try:
        context.keys.signing()
        ready = accounts.has_admin(context.warehouse)
    except (RuntimeError, OSError, SQLAlchemyError) as error:
        return Readiness(False, {"problem": type(error).__name__})
    return Readiness(ready, {} if ready else {"problem": "there is no admin; run: python -m serving.auth init"})


def create_process_app() -> FastAPI:
    """The app of a process: settings from the environment, logging configured."""
    settings = Settings.load()
    logs.configure(NAME, settings.log_level)
    return create_app(settings)
