"""Endpoints for admins: accounts, API keys of machines, the audit log, erasure of an account's predictions."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from accident_reco.storage import accounts, prediction_log
from serving.auth.account_changes import change_account, issue_key
from serving.auth.context import Context
from serving.auth.passwords import MAX_LENGTH, MIN_LENGTH, find_weakness
from serving.common.app import build_router, json_response
from serving.common.identity import ACCOUNT_NAME, SCOPES
from serving.common.problems import Problem, responses

Name = Annotated[str, Path(pattern=ACCOUNT_NAME, description="Account name")]
Password = Annotated[str, Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH, json_schema_extra={"format": "password"})]
# User name of a logged prediction: an account, an API key, or `anonymous` while authentication was off.
_SUBJECT = r"^(key:[0-9a-f]{16}|[a-z][a-z0-9._-]{1,63})$"
Role = Literal["user", "admin"]
Scope = Literal["predict", "feedback", "monitor", "train", "admin"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewUser(_Strict):
    """An account to create."""

    name: str = Field(pattern=ACCOUNT_NAME, description="Lower case; it never changes")
    password: Password
    role: Role = "user"


class UserChanges(_Strict):
    """Changes of an account; absent fields stay."""

    password: Password | None = None
    role: Role | None = None
    disabled: bool | None = Field(None, strict=True)


class UserResponse(BaseModel):
    """An account."""

    name: str
    role: Role
    disabled: bool
    created_at: datetime
    updated_at: datetime


class NewApiKey(_Strict):
    """An API key to create."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$", description="Purpose; one line")
    scopes: list[Scope] = Field(min_length=1, max_length=len(SCOPES))
    expires_in_days: int | None = Field(None, strict=True, ge=1, le=3650, description="Absent: it does not expire")


class ApiKeyResponse(BaseModel):
    """An API key; `key` is present only in the response that created it."""

    id: str
    name: str
    scopes: list[Scope]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    key: str | None = Field(None, description="Send as `X-API-Key` or `Authorization: Bearer`; shown this once")


class AuditEntry(BaseModel):
    """An entry of the audit log."""

    id: int
    at: datetime
    actor: str
    action: str
    target: str | None
    outcome: str
    address: str | None
    request_id: str | None
    detail: dict[str, Any]


def _build_response(user: dict[str, Any]) -> dict[str, Any]:
    return {name: user[name] for name in UserResponse.model_fields}


async def _check_strength(password: str, name: str) -> None:
    weakness = await asyncio.to_thread(find_weakness, password, name)
    if weakness is not None:
        errors = [{"pointer": "body/password", "code": "weak_password", "detail": weakness}]
        raise Problem(422, f"The password is too easy to guess: {weakness}", kind="weak-password", errors=errors)


def _no_such_user() -> Problem:
    return Problem(404, "There is no such account.", kind="no-such-account")


def _last_admin() -> Problem:
    return Problem(409, "This is the last admin; create another one first.", kind="last-admin")


def router(context: Context) -> APIRouter:
    """The endpoints; all of them require the scope `admin`."""
    routes = build_router("accounts", requires=context.guard.require("admin"))
    warehouse = context.warehouse

    @routes.get("/users", summary="List accounts", response_model=list[UserResponse])
    async def list_users() -> Response:
        return json_response([_build_response(user) for user in await asyncio.to_thread(accounts.all_users, warehouse)])

    @routes.post(
        "/users", summary="Create an account", status_code=201, response_model=UserResponse, responses=responses(409)
    )
    async def create_user(body: NewUser, request: Request) -> Response:
        await _check_strength(body.password, body.name)
        password_hash = await context.passwords.hash(body.password)
        try:
            user = await asyncio.to_thread(accounts.add_user, warehouse, body.name, password_hash, body.role)
        except accounts.AccountExists:
            raise Problem(409, "An account with this name exists.", kind="account-exists") from None
        await context.audit(request, "user.create", target=body.name, detail={"role": body.role})
        return json_response(_build_response(user), 201)

    @routes.get("/users/{name}", summary="Get an account", response_model=UserResponse, responses=responses(404))
    async def get_user(name: Name) -> Response:
        user = await asyncio.to_thread(accounts.user, warehouse, name)
        if user is None:
            raise _no_such_user()
        return json_response(_build_response(user))

    @routes.patch(
        "/users/{name}",
        summary="Change an account",
        description="A demoted admin keeps the API keys with scopes of a user, a disabled one none.",
        response_model=UserResponse,
        responses=responses(404, 409),
    )
    async def change_user(name: Name, body: UserChanges, request: Request) -> Response:
        changes: dict[str, Any] = body.model_dump(exclude_none=True, exclude={"password"})
        if body.password is not None:
            await _check_strength(body.password, name)
            changes["password_hash"] = await context.passwords.hash(body.password)
        if changes and await asyncio.to_thread(change_account, warehouse, name, changes) == "last admin":
            raise _last_admin()
        user = await asyncio.to_thread(accounts.user, warehouse, name)
        if user is None:
            raise _no_such_user()
        changed = sorted("password" if field == "password_hash" else field for field in changes)
        await context.audit(request, "user.change", target=name, detail={"changed": changed})
        return json_response(_build_response(user))

    @routes.delete(
        "/users/{name}",
        summary="Delete an account and revoke its API keys",
        status_code=204,
        response_class=Response,
        responses=responses(404, 409),
    )
    async def delete_user(name: Name, request: Request) -> Response:
        outcome = await asyncio.to_thread(accounts.remove_user, warehouse, name)
        if outcome == "last admin":
            raise _last_admin()
        if outcome == "missing":
            raise _no_such_user()
        await context.audit(request, "user.delete", target=name)
        return Response(status_code=204)

    @routes.delete(
        "/users/{name}/data",
        summary="Erase the logged predictions of an account with their labels",
        description="Also for deleted accounts, and for API keys as `key:<id>`.",
        response_model=dict[str, int],
    )
    async def erase_user_data(name: Annotated[str, Path(pattern=_SUBJECT)], request: Request) -> Response:
        erased = await asyncio.to_thread(prediction_log.erase_user, warehouse, name)
        await context.audit(request, "user.erase", target=name, detail=erased)
        return json_response(erased)

    _add_key_endpoints(routes, context)

    @routes.get("/audit", summary="Read the audit log, newest first", response_model=list[AuditEntry])
    async def audit(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Entries before this id")] = None,
    ) -> Response:
        return json_response(await asyncio.to_thread(accounts.audit_lines, warehouse, limit, before))

    return routes


def _add_key_endpoints(routes: APIRouter, context: Context) -> None:
    warehouse = context.warehouse

    @routes.get("/api-keys", summary="List API keys", response_model=list[ApiKeyResponse])
    async def list_api_keys() -> Response:
        rows = await asyncio.to_thread(accounts.all_api_keys, warehouse)
        return json_response([{k: v for k, v in row.items() if k != "secret_hash"} for row in rows])

    @routes.post("/api-keys", summary="Create an API key", status_code=201, response_model=ApiKeyResponse)
    async def create_api_key(body: NewApiKey, request: Request) -> Response:
        subject = request.scope["state"]["subject"]
        row = await asyncio.to_thread(issue_key, warehouse, body.name, body.scopes, body.expires_in_days, subject)
        await context.audit(request, "key.create", target=row["id"], detail={"scopes": row["scopes"]})
        return json_response(row, 201)

    @routes.delete(
        "/api-keys/{key_id}",
        summary="Revoke an API key, and those that it created",
        status_code=204,
        response_class=Response,
        responses=responses(404),
    )
    async def revoke_api_key(key_id: Annotated[str, Path(pattern="^[0-9a-f]{16}$")], request: Request) -> Response:
        if not await asyncio.to_thread(accounts.revoke_api_key, warehouse, key_id):
            raise Problem(404, "There is no such key, or it is revoked already.", kind="no-such-key")
        await context.audit(request, "key.revoke", target=key_id)
        return Response(status_code=204)
