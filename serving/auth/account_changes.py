"""Changes of accounts and API keys with their rules and audit entries; blocking. For the API and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from accident_reco.storage import accounts
from accident_reco.storage.warehouse import Warehouse
from serving.auth.passwords import Passwords, find_weakness
from serving.common.api_keys import generate_key
from serving.common.identity import ROLES

USER_FIELDS = ("name", "role", "disabled", "created_at", "updated_at")


class AccountError(ValueError):
    """A rule of accounts forbids the change, or its target does not exist; nothing changed."""


def role_with_scopes(scopes: frozenset[str]) -> str:
    """The role that has exactly these scopes.

    Raises:
        ValueError: there is none; the message lists the roles.
    """
    for role, granted in ROLES.items():
        if granted == scopes:
            return role
    known = "; ".join(f"{role}: {' '.join(sorted(granted))}" for role, granted in ROLES.items())
    raise ValueError(f"no role has exactly the scopes {' '.join(sorted(scopes))}; roles are {known}")


def change_account(warehouse: Warehouse, name: str, changes: dict[str, Any]) -> str:
    """Change an account; one that gets another password or loses rights loses its sessions, and with rights its keys.

    The API keys of a demoted admin keep the scopes of a user, those of a disabled account are revoked.

    Args:
        changes: `password_hash`, `role`, `disabled`: those that change.

    Returns:
        `changed`, `missing`, or `last admin`, where no admin would be left.
    """
    is_restricted = changes.get("role") == "user" or changes.get("disabled") is True
    outcome = accounts.change_user(warehouse, name, changes, keep_an_admin=is_restricted)
    if outcome == "changed" and ("password_hash" in changes or is_restricted):
        accounts.revoke_user_tokens(warehouse, name)
    if outcome == "changed" and is_restricted:
        accounts.restrict_keys(warehouse, name, frozenset() if changes.get("disabled") else ROLES["user"])
    return outcome


def issue_key(
    warehouse: Warehouse, name: str, scopes: Sequence[str], days: int | None, created_by: str
) -> dict[str, Any]:
    """Create an API key; returns its row with the key itself in `key`, which is not stored."""
    key_id, key, secret_hash = generate_key()
    row: dict[str, Any] = {
        "id": key_id,
        "name": name,
        "secret_hash": secret_hash,
        "scopes": sorted(set(scopes)),
        "created_by": created_by,
    }
    if days is not None:
        row["expires_at"] = datetime.now(UTC) + timedelta(days=days)
    stored = accounts.add_api_key(warehouse, row)
    del stored["secret_hash"]
    return {**stored, "key": key}


def _require_strength(password: str, name: str) -> None:
    weakness = find_weakness(password, name)
    if weakness is not None:
        raise AccountError(f"the password is too easy to guess: {weakness}")


class AccountAdmin:
    """Accounts and keys, changed by the administrator of the machine; every change is audited.

    Args:
        actor: name in the audit log.
    """

    def __init__(self, warehouse: Warehouse, actor: str) -> None:
        self._warehouse = warehouse
        self._actor = actor

    def list_accounts(self) -> list[dict[str, Any]]:
        """Every account with its scopes, without password hashes."""
        return [
            {field: user[field] for field in USER_FIELDS} | {"scopes": sorted(ROLES[user["role"]])}
            for user in accounts.all_users(self._warehouse)
        ]

    def create(self, name: str, password: str, role: str) -> None:
        """Create an account. Raises AccountError where the name exists or the password is too easy to guess."""
        _require_strength(password, name)
        try:
            accounts.add_user(self._warehouse, name, Passwords().hash_blocking(password), role)
        except accounts.AccountExists:
            raise AccountError(f"an account {name} exists") from None
        self._audit("user.create", name, role=role)

    def change(self, name: str, *, password: str | None = None, role: str | None = None) -> None:
        """Set password or role. Raises AccountError."""
        changes: dict[str, Any] = {"role": role} if role else {}
        if password is not None:
            _require_strength(password, name)
            changes["password_hash"] = Passwords().hash_blocking(password)
        self._require(change_account(self._warehouse, name, changes), name)
        self._audit("user.change", name, changed=sorted("password" if c == "password_hash" else c for c in changes))

    def delete(self, name: str) -> None:
        """Delete an account. Raises AccountError."""
        self._require(accounts.remove_user(self._warehouse, name), name)
        self._audit("user.delete", name)

    def list_keys(self) -> list[dict[str, Any]]:
        """Every API key, newest first, without the hashes of their secrets."""
        return [
            {name: value for name, value in row.items() if name != "secret_hash"}
            for row in accounts.all_api_keys(self._warehouse)
        ]

    def create_key(self, name: str, scopes: Sequence[str], days: int | None) -> dict[str, Any]:
        """Create an API key; returns its row with `key`."""
        row = issue_key(self._warehouse, name, scopes, days, self._actor)
        self._audit("key.create", row["id"], scopes=row["scopes"])
        return row

    def revoke_key(self, key_id: str) -> None:
        """Revoke an API key. Raises AccountError where there is none, or where it is revoked already."""
        if not accounts.revoke_api_key(self._warehouse, key_id):
            raise AccountError(f"there is no key {key_id}, or it is revoked already")
        self._audit("key.revoke", key_id)

    def _require(self, outcome: str, name: str) -> None:
        if outcome == "missing":
            raise AccountError(f"there is no account {name}")
        if outcome == "last admin":
            raise AccountError(f"{name} is the last admin; create another one first")

    def _audit(self, action: str, target: str, **detail: Any) -> None:
        accounts.audit(self._warehouse, self._actor, action, target=target, detail=detail)
