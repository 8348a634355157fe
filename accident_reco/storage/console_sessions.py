"""Sessions of the console in the warehouse, shared by its workers and replicas. Blocks.

Rows hold no usable secret: ids are hashes, tokens are encrypted by the caller.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, or_, select, update

from accident_reco.storage.clock import read_row, utc_now
from accident_reco.storage.tables.console import console_sessions
from accident_reco.storage.warehouse import Warehouse

TOUCH_INTERVAL = timedelta(minutes=1)
"""`used_at` is written at most so often."""


def add_session(warehouse: Warehouse, row: dict[str, Any], max_sessions: int, max_idle: timedelta) -> None:
    """Store a new session; delete idle ones, and the longest unused of more than `max_sessions`.

    Args:
        row: `id`, `user_name`, `scope`, `sealed`, `token_expires_at`.
    """
    at = utc_now()
    table = console_sessions
    with warehouse.begin() as connection:
        connection.execute(delete(table).where(table.c.used_at < at - max_idle))
        kept = select(table.c.id).order_by(table.c.used_at.desc()).limit(max_sessions - 1)
        # Read first: no database accepts every LIMIT inside of a deletion's condition.
        survivors = connection.execute(kept).scalars().all()
        if len(survivors) == max_sessions - 1:
            connection.execute(delete(table).where(table.c.id.not_in(survivors)))
        connection.execute(table.insert(), row | {"created_at": at, "used_at": at})


def find_session(
    warehouse: Warehouse, session_id: str, max_idle: timedelta, max_age: timedelta, is_use: bool = True
) -> dict[str, Any] | None:
    """A session that was used within `max_idle` and began within `max_age`, else None.

    Args:
        is_use: whether this counts as a use of the session.
    """
    at = utc_now()
    table = console_sessions
    with warehouse.connect() as connection:
        found = connection.execute(select(table).where(table.c.id == session_id)).mappings().first()
    row = None if found is None else read_row(found)
    if row is None or row["used_at"] < at - max_idle or row["created_at"] < at - max_age:
        return None
    if is_use and row["used_at"] < at - TOUCH_INTERVAL:
        with warehouse.begin() as connection:
            connection.execute(update(table).where(table.c.id == session_id).values(used_at=at))
    return row


def claim_refresh(warehouse: Warehouse, session_id: str, sealed: str, lease: timedelta) -> bool:
    """Whether the caller is to refresh the tokens `sealed` of a session, alone until `lease` has passed."""
    at = utc_now()
    table = console_sessions
    is_free = or_(table.c.refreshing_until.is_(None), table.c.refreshing_until < at)
    claim = update(table).where(table.c.id == session_id, table.c.sealed == sealed, is_free)
    with warehouse.begin() as connection:
        return connection.execute(claim.values(refreshing_until=at + lease)).rowcount == 1


def release_refresh(warehouse: Warehouse, session_id: str) -> None:
    """End a claim without new tokens."""
    table = console_sessions
    with warehouse.begin() as connection:
        connection.execute(update(table).where(table.c.id == session_id).values(refreshing_until=None))


def replace_tokens(warehouse: Warehouse, session_id: str, sealed: str, scope: str, expires_at: datetime) -> None:
    """Store refreshed tokens and end the claim."""
    table = console_sessions
    values = {"sealed": sealed, "scope": scope, "token_expires_at": expires_at, "refreshing_until": None}
    with warehouse.begin() as connection:
        connection.execute(update(table).where(table.c.id == session_id).values(values))


def remove_session(warehouse: Warehouse, session_id: str) -> None:
    """Delete a session."""
    with warehouse.begin() as connection:
        connection.execute(delete(console_sessions).where(console_sessions.c.id == session_id))
