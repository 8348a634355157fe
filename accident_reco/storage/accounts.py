"""Accounts, API keys, refresh tokens, login failures and the audit log: reads and writes, no rules of access."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from accident_reco.storage.clock import as_utc, read_row, utc_now
from accident_reco.storage.tables.accounts import (
    api_keys,
    audit_log,
    login_failures,
    refresh_tokens,
    users,
)
from accident_reco.storage.tables.accounts import (
    token_revocations as revocations,
)
from accident_reco.storage.warehouse import Warehouse

_ACTIVE_ADMIN: Final = and_(users.c.role == "admin", users.c.disabled.is_(False))


KNOWN: Final = "known:"
"""Prefix of rows that remember a successful login from an address."""
KNOWN_FOR: Final = timedelta(days=90)
FORGOTTEN_AFTER: Final = timedelta(days=1)
REVOKED_FOR: Final = timedelta(days=2)
"""Longer than the longest lifetime of an access token."""


class AccountExists(ValueError):
    """An account of that name exists."""


# Users
def add_user(warehouse: Warehouse, name: str, password_hash: str, role: str) -> dict[str, Any]:
    """Create an account. Raises AccountExists."""
    at = utc_now()
    row = {
        "name": name,
        "password_hash": password_hash,
        "role": role,
        "disabled": False,
        "created_at": at,
        "updated_at": at,
    }
    try:
        with warehouse.begin() as connection:
            connection.execute(users.insert(), row)
    except IntegrityError:
        raise AccountExists(name) from None
    return row


def user(warehouse: Warehouse, name: str) -> dict[str, Any] | None:
    """One account; None where there is none."""
    with warehouse.connect() as connection:
        row = connection.execute(select(users).where(users.c.name == name)).mappings().first()
    return read_row(row) if row else None


def all_users(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Every account, by name."""
    with warehouse.connect() as connection:
        return [read_row(row) for row in connection.execute(select(users).order_by(users.c.name)).mappings()]


def change_user(warehouse: Warehouse, name: str, changes: Mapping[str, Any], *, keep_an_admin: bool) -> str:
    """Change an account. Returns `changed`, `missing`, or `last admin` where no admin would be left."""
    with warehouse.begin() as connection:
        if keep_an_admin and _is_last_admin(connection, name):
            return "last admin"
        done = connection.execute(update(users).where(users.c.name == name).values(updated_at=utc_now(), **changes))
        return "changed" if done.rowcount else "missing"


def remove_user(warehouse: Warehouse, name: str) -> str:
    """Delete an account with its refresh tokens, and revoke its keys and access tokens.

    Returns:
        `removed`, `missing`, or `last admin`.
    """
    with warehouse.begin() as connection:
        if _is_last_admin(connection, name):
            return "last admin"
        _revoke_keys(connection, [name])
        _revoke_access_tokens(connection, name)
        connection.execute(delete(refresh_tokens).where(refresh_tokens.c.user_name == name))
        done = connection.execute(delete(users).where(users.c.name == name))
        return "removed" if done.rowcount else "missing"


def restrict_keys(warehouse: Warehouse, name: str, kept: frozenset[str]) -> list[str]:
    """Revoke the API keys of an account that have other scopes than `kept`. Returns their ids."""
    with warehouse.begin() as connection:
        return _revoke_keys(connection, [name], kept)


def restrict_all_keys(warehouse: Warehouse, kept: Mapping[str, frozenset[str]]) -> list[str]:
    """Revoke the API keys that their creators could not create any more, however that came about. Returns their ids.

    Args:
        kept: role → scopes that a key may keep; none for accounts that are removed or disabled.
    """
    with warehouse.begin() as connection:
        enabled = select(users.c.name, users.c.role).where(users.c.disabled.is_(False))
        roles = dict(connection.execute(enabled).tuples().all())
        creators = connection.execute(select(api_keys.c.created_by).distinct()).scalars().all()
        revoked: list[str] = []
        for name in creators:
            # Keys go with the keys that created them; on the command line the machine's administrator creates them.
            if not name.startswith("key:") and " " not in name:
                revoked += _revoke_keys(connection, [name], kept[roles[name]] if name in roles else frozenset())
        return revoked


def _is_last_admin(connection: Any, name: str) -> bool:
    admins = connection.execute(select(users.c.name).where(_ACTIVE_ADMIN)).scalars().all()
    return list(admins) == [name]


def has_admin(warehouse: Warehouse) -> bool:
    """Whether there is an active admin."""
    with warehouse.connect() as connection:
        return connection.execute(select(func.count()).select_from(users).where(_ACTIVE_ADMIN)).scalar_one() > 0


# Refresh tokens
def add_refresh_token(
    warehouse: Warehouse, token_hash: str, family: str, user_name: str, scope: str, lifetime: timedelta
) -> None:
    """Store the first token of a login, and delete tokens that expired more than a day ago."""
    at = utc_now()
    row = {
        "hash": token_hash,
        "family": family,
        "user_name": user_name,
        "scope": scope,
        "issued_at": at,
        "expires_at": at + lifetime,
    }
    with warehouse.begin() as connection:
        connection.execute(delete(refresh_tokens).where(refresh_tokens.c.expires_at < at - timedelta(days=1)))
        connection.execute(refresh_tokens.insert(), row)


def use_refresh_token(
    warehouse: Warehouse, token_hash: str, successor: str, lifetime: timedelta
) -> tuple[str, dict[str, Any] | None]:
    """Use a token up and store its successor, of the hash `successor`, in one transaction.

    Returns:
        `ok` with the token's row; otherwise `unknown`, `expired`, `revoked`, or `reused` (its family is revoked), and
        the successor is not stored. A concurrent reuse finds the successor and revokes it too.
    """
    at = utc_now()
    with warehouse.begin() as connection:
        row = _family_member(connection, token_hash)
        if row is None:
            return "unknown", None
        if row["revoked_at"] is not None:
            return "revoked", row
        if row["used_at"] is not None:
            _revoke(connection, refresh_tokens.c.family == row["family"])
            return "reused", row
        connection.execute(update(refresh_tokens).where(refresh_tokens.c.hash == token_hash).values(used_at=at))
        if row["expires_at"] <= at:
            return "expired", row
        new = {"hash": successor, "issued_at": at, "expires_at": at + lifetime}
        kept = {name: row[name] for name in ("family", "user_name", "scope")}
        connection.execute(refresh_tokens.insert(), kept | new)
        return "ok", row


def revoke_family(warehouse: Warehouse, token_hash: str) -> str | None:
    """Revoke every token of the login that this one came from. Returns the account; None for an unknown token."""
    with warehouse.begin() as connection:
        row = _family_member(connection, token_hash)
        if row is None:
            return None
        _revoke(connection, refresh_tokens.c.family == row["family"])
        return str(row["user_name"])


def revoke_user_tokens(warehouse: Warehouse, user_name: str) -> None:
    """Revoke every token of an account: those issued until now."""
    with warehouse.begin() as connection:
        _revoke_access_tokens(connection, user_name)
        _revoke(connection, refresh_tokens.c.user_name == user_name)


def token_revocations(warehouse: Warehouse) -> dict[str, float]:
    """Account → when its access tokens were revoked, in seconds UTC."""
    with warehouse.connect() as connection:
        rows = connection.execute(select(revocations)).mappings().all()
    return {row["subject"]: as_utc(row["revoked_at"]).timestamp() for row in rows}


def _revoke_access_tokens(connection: Connection, user_name: str) -> None:
    _lock_user_tokens(connection, user_name)
    at = utc_now()
    own = revocations.c.subject == user_name
    connection.execute(delete(revocations).where(own | (revocations.c.revoked_at < at - REVOKED_FOR)))
    connection.execute(revocations.insert(), {"subject": user_name, "revoked_at": at})


def _family_member(connection: Connection, token_hash: str) -> dict[str, Any] | None:
    """A token's row, with the account's tokens locked: the next transaction on them sees every change of this one."""
    by_hash = refresh_tokens.c.hash == token_hash
    name = connection.execute(select(refresh_tokens.c.user_name).where(by_hash)).scalar()
    if name is None:
        return None
    _lock_user_tokens(connection, name)
    found = connection.execute(select(refresh_tokens).where(by_hash)).mappings().first()
    return read_row(found) if found else None


def _lock_user_tokens(connection: Connection, user_name: str) -> None:
    # The account's row: it outlives its tokens. SQLite has one writer at a time anyway.
    connection.execute(select(users.c.name).where(users.c.name == user_name).with_for_update(key_share=True))


def _revoke(connection: Connection, which: ColumnElement[bool]) -> None:
    active = refresh_tokens.c.revoked_at.is_(None)
    connection.execute(update(refresh_tokens).where(which, active).values(revoked_at=utc_now()))


# Failed logins
def blocked_for(warehouse: Warehouse, keys: Sequence[str]) -> float:
    """Seconds until all of these keys may log in again; 0 where they may now."""
    query = select(func.max(login_failures.c.blocked_until)).where(login_failures.c.key.in_(keys))
    with warehouse.connect() as connection:
        until = connection.execute(query).scalar_one()
    if until is None:
        return 0.0
    return max(0.0, (as_utc(until) - utc_now()).total_seconds())


def record_failure(warehouse: Warehouse, backoff: Mapping[str, Any]) -> None:
    """Count a failed login for each key; `backoff` is key → (number of failures → wait in seconds)."""
    at = utc_now()
    with warehouse.begin() as connection:
        is_known = login_failures.c.key.startswith(KNOWN)
        connection.execute(delete(login_failures).where(~is_known, login_failures.c.updated_at < at - FORGOTTEN_AFTER))
        connection.execute(delete(login_failures).where(is_known, login_failures.c.updated_at < at - KNOWN_FOR))
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


def is_known(warehouse: Warehouse, key: str) -> bool:
    """Whether a login of this key (account and address) succeeded within `KNOWN_FOR`."""
    query = select(login_failures.c.updated_at).where(login_failures.c.key == KNOWN + key)
    with warehouse.connect() as connection:
        at = connection.execute(query).scalar()
    return at is not None and as_utc(at) > utc_now() - KNOWN_FOR


def record_success(warehouse: Warehouse, key: str, reset: Sequence[str]) -> None:
    """Remember a successful login of a key (account and address), and reset these counters."""
    own, at = login_failures.c.key == KNOWN + key, utc_now()
    with warehouse.begin() as connection:
        connection.execute(delete(login_failures).where(login_failures.c.key.in_(reset)))
        if connection.execute(update(login_failures).where(own).values(updated_at=at)).rowcount:
            return
    with suppress(IntegrityError), warehouse.begin() as connection:  # another login at the same moment
        connection.execute(login_failures.insert(), {"key": KNOWN + key, "failures": 0, "updated_at": at})


# API keys
def add_api_key(warehouse: Warehouse, row: Mapping[str, Any]) -> dict[str, Any]:
    """Store an API key. Returns its row."""
    full = {"created_at": utc_now(), "expires_at": None, "revoked_at": None, **row}
    with warehouse.begin() as connection:
        connection.execute(api_keys.insert(), full)
    return full


def api_key(warehouse: Warehouse, key_id: str) -> dict[str, Any] | None:
    """One API key; None where there is none."""
    with warehouse.connect() as connection:
        row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).mappings().first()
    return read_row(row) if row else None


def all_api_keys(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Every API key, newest first."""
    with warehouse.connect() as connection:
        return [
            read_row(r) for r in connection.execute(select(api_keys).order_by(api_keys.c.created_at.desc())).mappings()
        ]


def revoke_api_key(warehouse: Warehouse, key_id: str) -> bool:
    """Revoke an API key and the keys that it created. Returns whether there was one to revoke."""
    with warehouse.begin() as connection:
        done = connection.execute(
            update(api_keys)
            .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=utc_now())
        )
        if done.rowcount:
            _revoke_keys(connection, [f"key:{key_id}"])
        return bool(done.rowcount)


def _revoke_keys(connection: Connection, creators: Sequence[str], kept: frozenset[str] = frozenset()) -> list[str]:
    """Revoke the keys of these creators, and those that these keys created, except with no other scopes than `kept`."""
    revoked: list[str] = []
    waiting, seen = list(creators), set(creators)
    while waiting:
        query = select(api_keys.c.id, api_keys.c.scopes, api_keys.c.revoked_at).where(
            api_keys.c.created_by == waiting.pop()
        )
        for key_id, scopes, revoked_at in connection.execute(query).all():
            if set(scopes) <= kept:
                continue
            if revoked_at is None:
                revoked.append(key_id)
            if (creator := f"key:{key_id}") not in seen:
                seen.add(creator)
                waiting.append(creator)
    if revoked:
        connection.execute(update(api_keys).where(api_keys.c.id.in_(revoked)).values(revoked_at=utc_now()))
    return revoked


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
    """Append an entry to the audit log."""
    row = {
        "at": utc_now(),
        "actor": actor,
        "action": action,
        "target": target,
        "outcome": outcome,
        "address": address,
        "request_id": request_id,
        "detail": dict(detail or {}),
    }
    with warehouse.begin() as connection:
        connection.execute(audit_log.insert(), row)


def audit_lines(warehouse: Warehouse, limit: int, before: int | None = None) -> list[dict[str, Any]]:
    """Entries of the audit log, newest first; `before` is the id that a page ends before."""
    query = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit_log.c.id < before)
    with warehouse.connect() as connection:
        return [read_row(row) for row in connection.execute(query).mappings()]
