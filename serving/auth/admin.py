"""Accounts, machines' keys and the audit log: what an admin does, and what everybody may do with their own account."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from accident_reco.storage import accounts, prediction_log
from serving.auth.context import Context
from serving.auth.passwords import MAX_LENGTH, MIN_LENGTH
from serving.common.api_keys import new_key
from serving.common.app import json_response, new_router
from serving.common.identity import ACCOUNT_NAME, SCOPES
from serving.common.problems import Problem, responses

Name = Annotated[str, Path(pattern=ACCOUNT_NAME, description="Account name")]
Password = Annotated[str, Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH, json_schema_extra={"format": "password"})]
# Who may have asked for a prediction: an account, a machine's key, or anybody while authentication was off.
_ASKER = r"^(key:[0-9a-f]{16}|[a-z][a-z0-9._-]{1,63})$"
Role = Literal["user", "admin"]
Scope = Literal["predict", "feedback", "monitor", "train", "admin"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewUser(_Strict):
    """An account to make."""

    name: str = Field(pattern=ACCOUNT_NAME, description="Lower case; it never changes")
    password: Password
    role: Role = "user"


class UserChanges(_Strict):
    """What to change; absent fields stay."""

    password: Password | None = None
    role: Role | None = None
    disabled: bool | None = Field(None, strict=True)


class UserAnswer(BaseModel):
    """An account."""

    name: str
    role: Role
    disabled: bool
    created_at: datetime
    updated_at: datetime


class NewApiKey(_Strict):
    """A machine's key to make."""

    name: str = Field(
        min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$", description="What it is for; one line"
    )
    scopes: list[Scope] = Field(min_length=1, max_length=len(SCOPES))
    expires_in_days: int | None = Field(None, strict=True, ge=1, le=3650, description="Absent: does not expire")


class ApiKeyAnswer(BaseModel):
    """A machine's key; `key` is there only in the answer that made it."""

    id: str
    name: str
    scopes: list[Scope]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    key: str | None = Field(None, description="Send as `X-API-Key` or `Authorization: Bearer`; shown this once")


class AuditLine(BaseModel):
    """One line of the audit log."""

    id: int
    at: datetime
    actor: str
    action: str
    target: str | None
    outcome: str
    address: str | None
    request_id: str | None
    detail: dict[str, Any]


def _shown(user: dict[str, Any]) -> dict[str, Any]:
    return {name: user[name] for name in UserAnswer.model_fields}


def _no_such_user() -> Problem:
    return Problem(404, "There is no such account.", kind="no-such-account")


def _last_admin() -> Problem:
    return Problem(409, "This is the last admin; make another one first.", kind="last-admin")


def router(context: Context) -> APIRouter:
    """Endpoints of admins."""
    routes = new_router("accounts", needs=context.guard.needs("admin"))
    warehouse = context.warehouse

    @routes.get("/users", summary="Every account", response_model=list[UserAnswer])
    async def list_users() -> Response:
        return json_response([_shown(user) for user in await asyncio.to_thread(accounts.all_users, warehouse)])

    @routes.post(
        "/users", summary="Make an account", status_code=201, response_model=UserAnswer, responses=responses(409)
    )
    async def create_user(body: NewUser, request: Request) -> Response:
        password_hash = await context.passwords.hash(body.password)
        try:
            user = await asyncio.to_thread(accounts.add_user, warehouse, body.name, password_hash, body.role)
        except accounts.AccountExists:
            raise Problem(409, "The name is taken.", kind="account-exists") from None
        await context.audit(request, "user.create", target=body.name, detail={"role": body.role})
        return json_response(_shown(user), 201)

    @routes.get("/users/{name}", summary="One account", response_model=UserAnswer, responses=responses(404))
    async def get_user(name: Name) -> Response:
        user = await asyncio.to_thread(accounts.user, warehouse, name)
        if user is None:
            raise _no_such_user()
        return json_response(_shown(user))

    @routes.patch(
        "/users/{name}", summary="Change an account", response_model=UserAnswer, responses=responses(404, 409)
    )
    async def change_user(name: Name, body: UserChanges, request: Request) -> Response:
        changes: dict[str, Any] = body.model_dump(exclude_none=True, exclude={"password"})
        if body.password is not None:
            changes["password_hash"] = await context.passwords.hash(body.password)
        weaker = body.role == "user" or body.disabled is True
        if changes:
            outcome = await asyncio.to_thread(accounts.change_user, warehouse, name, changes, keep_an_admin=weaker)
            if outcome == "last admin":
                raise _last_admin()
            if body.password is not None or weaker:
                await asyncio.to_thread(accounts.revoke_all_of, warehouse, name)
        user = await asyncio.to_thread(accounts.user, warehouse, name)
        if user is None:
            raise _no_such_user()
        changed = sorted("password" if field == "password_hash" else field for field in changes)
        await context.audit(request, "user.change", target=name, detail={"changed": changed})
        return json_response(_shown(user))

    @routes.delete(
        "/users/{name}",
        summary="Remove an account",
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
        summary="Erase what an account asked for: its logged predictions and their labels",
        description="Works for accounts that were removed, and for keys as `key:<id>`.",
        response_model=dict[str, int],
    )
    async def erase_user_data(name: Annotated[str, Path(pattern=_ASKER)], request: Request) -> Response:
        erased = await asyncio.to_thread(prediction_log.erase_user, warehouse, name)
        await context.audit(request, "user.erase", target=name, detail=erased)
        return json_response(erased)

    _keys(routes, context)

    @routes.get("/audit", summary="The audit log, newest first", response_model=list[AuditLine])
    async def audit(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Lines before this id")] = None,
    ) -> Response:
        return json_response(await asyncio.to_thread(accounts.audit_lines, warehouse, limit, before))

    return routes


def _keys(routes: APIRouter, context: Context) -> None:
    warehouse = context.warehouse

    @routes.get("/api-keys", summary="Every key of a machine", response_model=list[ApiKeyAnswer])
    async def list_api_keys() -> Response:
        rows = await asyncio.to_thread(accounts.all_api_keys, warehouse)
        return json_response([{k: v for k, v in row.items() if k != "secret_hash"} for row in rows])

    @routes.post("/api-keys", summary="Make a key for a machine", status_code=201, response_model=ApiKeyAnswer)
    async def create_api_key(body: NewApiKey, request: Request) -> Response:
        key_id, key, secret_hash = new_key()
        row = {
            "id": key_id,
            "name": body.name,
            "secret_hash": secret_hash,
            "scopes": sorted(set(body.scopes)),
            "created_by": request.scope["state"]["subject"],
        }
        if body.expires_in_days is not None:
            row["expires_at"] = datetime.now(UTC) + timedelta(days=body.expires_in_days)
        stored = await asyncio.to_thread(accounts.add_api_key, warehouse, row)
        await context.audit(request, "key.create", target=key_id, detail={"scopes": row["scopes"]})
        del stored["secret_hash"]
        return json_response({**stored, "key": key}, 201)

    @routes.delete(
        "/api-keys/{key_id}",
        summary="Revoke a key",
        status_code=204,
        response_class=Response,
        responses=responses(404),
    )
    async def revoke_api_key(key_id: Annotated[str, Path(pattern="^[0-9a-f]{16}$")], request: Request) -> Response:
        if not await asyncio.to_thread(accounts.revoke_api_key, warehouse, key_id):
            raise Problem(404, "There is no such key, or it is revoked already.", kind="no-such-key")
        await context.audit(request, "key.revoke", target=key_id)
        return Response(status_code=204)
