"""UTC times: the current one, as ISO text, and as rows of the warehouse carry them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def utc_now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(UTC)


def iso_now() -> str:
    """The current time in UTC as ISO 8601 text, to the millisecond."""
    return utc_now().isoformat(timespec="milliseconds")


def as_utc(at: datetime) -> datetime:
    """A time read from the warehouse, with its zone: SQLite drops it, and everything there was written in UTC."""
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def read_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of a query as a dict, its times in UTC."""
    return {str(name): as_utc(value) if isinstance(value, datetime) else value for name, value in row.items()}
