"""Reads and writes accounts, keys, refresh tokens, login failures and the audit log. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from accident_reco.storage.tables.accounts import api_keys, audit_log, login_failures, refresh_tokens, users
from accident_reco.storage.warehouse import Warehouse


def now() -> datetime:
    """UTC."""
    return datetime.now(UTC)


def _utc(row: Any) -> dict[str, Any]:
    # SQLite forgets the zone; everything here was written as UTC.
    return {
        str(name): value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
        for name, value in row.items()
    }


class AccountExists(ValueError):
    """The name is taken."""


# Users
def add_user(warehouse: Warehouse, name: str, password_hash: str, role: str) -> dict[str, Any]:
    """Create an account. Raises AccountExists."""
    at = now()
    row = {
        "name": name, "password_hash": password_hash, "role": role, "disabled": False,
        "created_at": at, "updated_at": at,
    }  # fmt: skip
    try:
        with warehouse.begin() as connection:
            connection.execute(users.insert(), row)
    except IntegrityError:
        raise AccountExists(name) from None
    return row


def user(warehouse: Warehouse, name: str) -> dict[str, Any] | None:
    """One account, or None."""
    with warehouse.connect() as connection:
        row = connection.execute(select(users).where(users.c.name == name)).mappings().first()
    return _utc(row) if row else None


def all_users(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Every account by name."""
    with warehouse.connect() as connection:
        return [_utc(row) for row in connection.execute(select(users).order_by(users.c.name)).mappings()]


def change_user(warehouse: Warehouse, name: str, changes: Mapping[str, Any], *, keep_an_admin: bool) -> str:
    """Change an account: `changed`, `missing`, or `last admin` when it would leave nobody who can administer."""
    with warehouse.begin() as connection:
        if keep_an_admin and _is_last_admin(connection, name):
            return "last admin"
        done = connection.execute(update(users).where(users.c.name == name).values(updated_at=now(), **changes))
        return "changed" if done.rowcount else "missing"


def remove_user(warehouse: Warehouse, name: str) -> str:
    """Delete an account with its refresh tokens: `removed`, `missing` or `last admin`."""
    with warehouse.begin() as connection:
        if _is_last_admin(connection, name):
            return "last admin"
        connection.execute(delete(refresh_tokens).where(refresh_tokens.c.user_name == name))
        done = connection.execute(delete(users).where(users.c.name == name))
        return "removed" if done.rowcount else "missing"


def _is_last_admin(connection: Any, name: str) -> bool:
    active = and_(users.c.role == "admin", users.c.disabled.is_(False))
    admins = connection.execute(select(users.c.name).where(active)).scalars().all()
    return list(admins) == [name]


def has_admin(warehouse: Warehouse) -> bool:
    """Whether anybody can administer."""
    active = and_(users.c.role == "admin", users.c.disabled.is_(False))
    with warehouse.connect() as connection:
        return connection.execute(select(func.count()).select_from(users).where(active)).scalar_one() > 0


# Refresh tokens
def add_refresh_token(
    warehouse: Warehouse, token_hash: str, family: str, user_name: str, scope: str, lifetime: timedelta
) -> None:
    """Store a new token; tokens long expired are dropped on the way."""
    at = now()
    row = {
        "hash": token_hash, "family": family, "user_name": user_name, "scope": scope,
        "issued_at": at, "expires_at": at + lifetime,
    }  # fmt: skip
    with warehouse.begin() as connection:
        connection.execute(delete(refresh_tokens).where(refresh_tokens.c.expires_at < at - timedelta(days=1)))
        connection.execute(refresh_tokens.insert(), row)


def use_refresh_token(warehouse: Warehouse, token_hash: str) -> tuple[str, dict[str, Any] | None]:
    """Use a token up: `ok` with its row, else `unknown`, `expired`, `revoked`, or `reused` (family revoked)."""
    at = now()
    with warehouse.begin() as connection:
        found = connection.execute(select(refresh_tokens).where(refresh_tokens.c.hash == token_hash)).mappings().first()
        if found is None:
            return "unknown", None
        row = _utc(found)
        if row["revoked_at"] is not None:
            return "revoked", row
        first = connection.execute(
            update(refresh_tokens)
            .where(refresh_tokens.c.hash == token_hash, refresh_tokens.c.used_at.is_(None))
            .values(used_at=at)
        )
        if not first.rowcount:
            connection.execute(
                update(refresh_tokens).where(refresh_tokens.c.family == row["family"]).values(revoked_at=at)
            )
            return "reused", row
        return ("ok" if row["expires_at"] > at else "expired"), row


def revoke_family_of(warehouse: Warehouse, token_hash: str) -> str | None:
    """Revoke every token of the login that this one came from; gives the account, or None."""
    with warehouse.begin() as connection:
        row = connection.execute(select(refresh_tokens).where(refresh_tokens.c.hash == token_hash)).mappings().first()
        if row is None:
            return None
        connection.execute(
            update(refresh_tokens).where(refresh_tokens.c.family == row["family"]).values(revoked_at=now())
        )
        return str(row["user_name"])


def revoke_all_of(warehouse: Warehouse, user_name: str) -> None:
    """Revoke every refresh token of an account."""
    with warehouse.begin() as connection:
        connection.execute(
            update(refresh_tokens).where(refresh_tokens.c.user_name == user_name).values(revoked_at=now())
        )


# Failed logins
def blocked_for(warehouse: Warehouse, keys: Sequence[str]) -> float:
    """Seconds until the last of these keys may log in again, 0 when now."""
    query = select(func.max(login_failures.c.blocked_until)).where(login_failures.c.key.in_(keys))
    with warehouse.connect() as connection:
        until = connection.execute(query).scalar_one()
    if until is None:
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - now()).total_seconds())


def record_failure(warehouse: Warehouse, backoff: Mapping[str, Any]) -> None:
    """Count a failed login for each key; `backoff` maps key → (failures → seconds to wait)."""
    at = now()
    with warehouse.begin() as connection:
        connection.execute(delete(login_failures).where(login_failures.c.updated_at < at - timedelta(days=1)))
        for key, wait in backoff.items():
            found = connection.execute(select(login_failures.c.failures).where(login_failures.c.key == key)).scalar()
            failures = (found or 0) + 1
            values = {
                "failures": failures,
                "blocked_until": at + timedelta(seconds=wait(failures)),
                "updated_at": at,
            }
            if found is None:
                connection.execute(login_failures.insert(), {"key": key, **values})
            else:
                connection.execute(update(login_failures).where(login_failures.c.key == key).values(**values))


def forget_failures(warehouse: Warehouse, keys: Sequence[str]) -> None:
    """A good login: the counters start again."""
    with warehouse.begin() as connection:
        connection.execute(delete(login_failures).where(login_failures.c.key.in_(keys)))


# Keys of machines
def add_api_key(warehouse: Warehouse, row: Mapping[str, Any]) -> dict[str, Any]:
    """Store a key."""
    full = {"created_at": now(), "expires_at": None, "revoked_at": None, **row}
    with warehouse.begin() as connection:
        connection.execute(api_keys.insert(), full)
    return full


def api_key(warehouse: Warehouse, key_id: str) -> dict[str, Any] | None:
    """One key, or None."""
    with warehouse.connect() as connection:
        row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).mappings().first()
    return _utc(row) if row else None


def all_api_keys(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Every key, newest first."""
    with warehouse.connect() as connection:
        return [_utc(r) for r in connection.execute(select(api_keys).order_by(api_keys.c.created_at.desc())).mappings()]


def revoke_api_key(warehouse: Warehouse, key_id: str) -> bool:
    """Revoke a key; whether there was one to revoke."""
    with warehouse.begin() as connection:
        done = connection.execute(
            update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)).values(revoked_at=now())
        )
        return bool(done.rowcount)


# Audit
def audit(
    warehouse: Warehouse,
    actor: str,
    action: str,
    *,
    target: str | None = None,
    outcome: str = "ok",
    address: str | None = None,
    request_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Append one line."""
    row = {
        "at": now(), "actor": actor, "action": action, "target": target, "outcome": outcome, "address": address,
        "request_id": request_id, "detail": dict(detail or {}),
    }  # fmt: skip
    with warehouse.begin() as connection:
        connection.execute(audit_log.insert(), row)


def audit_lines(warehouse: Warehouse, limit: int, before: int | None = None) -> list[dict[str, Any]]:
    """Newest lines first; `before` pages back by id."""
    query = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit_log.c.id < before)
    with warehouse.connect() as connection:
        return [_utc(row) for row in connection.execute(query).mappings()]
