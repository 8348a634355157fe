"""Accounts, API keys and the audit log, for admins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from serving.common.identity import ROLES, SCOPES
from serving.common.problems import Problem
from serving.console.api import ApiProblem, segment
from serving.console.context import Console
from serving.console.page import Page, page_router
from serving.console.problem_pages import ProblemPage, describe_api_problem
from serving.console.sections import NavLink, Section

AUDIT_LINES: Final = 100
CHANGES: Final[Mapping[str, Mapping[str, Any]]] = {
    "disable": {"disabled": True},
    "enable": {"disabled": False},
    "make-admin": {"role": "admin"},
    "make-user": {"role": "user"},
}
"""Button → body of `PATCH /users/{name}`."""
NOTICES: Final[Mapping[str, str]] = {
    "disable": "{} is disabled: no login, no refresh, no API key of this account works.",
    "enable": "{} may log in again.",
    "make-admin": "{} is an admin now.",
    "make-user": "{} is no admin any more.",
    "delete": "{} and the API keys of this account are deleted.",
    "erase": "Erased of {}: {} predictions, {} outcomes.",
}
Name = Annotated[str, Path(max_length=80)]


def routers(console: Console) -> Sequence[APIRouter]:
    """The pages."""
    routes = page_router(console, "admin")
    _add_accounts(routes)
    _add_keys(routes)

    @routes.get("/admin/audit")
    async def audit(page: Page, before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None) -> Response:
        entries = await page.api.get("auth", "/audit", limit=AUDIT_LINES, before=before)
        last = entries[-1]["id"] if len(entries) == AUDIT_LINES else None
        return page.render("admin_audit.html", entries=entries, last=last, before=before)

    return [routes]


def _add_accounts(routes: APIRouter) -> None:
    async def show(page: Page, problem: ProblemPage | None = None, given: Mapping[str, str] | None = None) -> Response:
        users = await page.api.get("auth", "/users")
        status = problem.status if problem else 200
        return page.render(
            "admin.html",
            status,
            users=users,
            roles=[(role, role) for role in ROLES],
            problem=problem,
            given=given or {},
        )

    @routes.get("/admin")
    async def list_users(page: Page) -> Response:
        return await show(page)

    @routes.post("/admin")
    async def create_user(page: Page) -> Response:
        given = await _read(page, "name", "password", "role")
        try:
            await page.api.post("auth", "/users", given)
        except ApiProblem as problem:
            return await show(page, describe_api_problem(problem), given)
        return page.redirect("/admin", f"{given['name']} may log in now.")

    @routes.post("/admin/users/{name}")
    async def change_user(page: Page, name: Name) -> Response:
        action = (await _read(page, "action"))["action"]
        path = f"/users/{segment(name)}"
        notice = NOTICES.get(action, "").format(name, "{}", "{}")
        try:
            if action in CHANGES:
                await page.api.call("auth", "PATCH", path, body=CHANGES[action])
            elif action == "delete":
                await page.api.call("auth", "DELETE", path)
            elif action == "erase":
                erased = (await page.api.call("auth", "DELETE", f"{path}/data")).json()
                notice = NOTICES["erase"].format(name, erased.get("predictions", 0), erased.get("feedback", 0))
            elif action == "password":
                await page.api.call("auth", "PATCH", path, body=await _read(page, "password"))
                notice = f"{name} has a new password."
            else:
                raise Problem(422, "There is no such action.", kind="invalid-request")
        except ApiProblem as problem:
            return await show(page, describe_api_problem(problem))
        return page.redirect("/admin", notice)


def _add_keys(routes: APIRouter) -> None:
    async def show(page: Page, **values: Any) -> Response:
        keys = await page.api.get("auth", "/api-keys")
        problem: ProblemPage | None = values.get("problem")
        shown = {"problem": None, "given": {}, "chosen": ["predict"], "created": None} | values
        return page.render("admin_keys.html", problem.status if problem else 200, keys=keys, scopes=SCOPES, **shown)

    @routes.get("/admin/keys")
    async def list_keys(page: Page) -> Response:
        return await show(page)

    @routes.post("/admin/keys")
    async def create_key(page: Page) -> Response:
        given = await _read(page, "name", "expires_in_days")
        chosen = [str(scope) for scope in (await page.form_fields()).getlist("scopes")]
        body: dict[str, Any] = {"name": given["name"], "scopes": chosen}
        days = given["expires_in_days"].strip()
        if days:
            body["expires_in_days"] = int(days) if days.isdigit() and len(days) < 9 else days
        try:
            created = await page.api.post("auth", "/api-keys", body)
        except ApiProblem as problem:
            return await show(page, problem=describe_api_problem(problem), given=given, chosen=chosen)
        # No redirect: only this response has the key.
        return await show(page, created=created)

    @routes.post("/admin/keys/{key_id}/revoke")
    async def revoke_key(page: Page, key_id: Name) -> Response:
        try:
            await page.api.call("auth", "DELETE", f"/api-keys/{segment(key_id)}")
        except ApiProblem as problem:
            return await show(page, problem=describe_api_problem(problem))
        return page.redirect("/admin/keys", f"The key {key_id} is revoked.")


async def _read(page: Page, *names: str) -> dict[str, str]:
    fields = await page.form_fields()
    return {name: str(fields.get(name, "")) for name in names}


SECTION = Section(links=[NavLink("Admin", "/admin", "admin")], routers=routers)
