"""The promotion audit and the intents that precede it: reads and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.exc import IntegrityError

from accident_reco.storage.clock import as_utc, read_row, utc_now
from accident_reco.storage.tables.lifecycle import promotion_intents, promotions
from accident_reco.storage.warehouse import Warehouse


def record_promotion(
    warehouse: Warehouse,
    *,
    model: str,
    version: str,
    previous: str | None,
    action: str,
    promoted: bool,
    reason: str,
    detail: Mapping[str, Any],
    run_id: str,
) -> str:
    """Append a decision to the audit. Returns its id."""
    row = {
        "id": uuid4().hex,
        "model": model,
        "version": version,
        "previous": previous,
        "action": action,
        "promoted": promoted,
        "reason": reason,
        "detail": dict(detail),
        "run_id": run_id,
    }
    with warehouse.begin() as connection:
        connection.execute(promotions.insert(), row | {"decided_at": _next_decision(connection, str(row["model"]))})
    return str(row["id"])


def record_decision_once(warehouse: Warehouse, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append decisions with ids of their own to the audit, in order; those that it has stay as they are."""
    ids = [row["id"] for row in rows]
    with warehouse.connect() as connection:
        known = set(connection.scalars(select(promotions.c.id).where(promotions.c.id.in_(ids))))
    for row in rows:
        if row["id"] not in known:
            with suppress(IntegrityError), warehouse.begin() as connection:
                at = _next_decision(connection, str(row["model"]))
                connection.execute(promotions.insert(), dict(row) | {"decided_at": at})


def record_intent(warehouse: Warehouse, row: Mapping[str, Any]) -> dict[str, Any]:
    """Record a move before it is carried out; one with the same `id` stays as it is. Returns the row."""
    complete = {**row, "created_at": utc_now(), "completed_at": None}
    with suppress(IntegrityError), warehouse.begin() as connection:
        connection.execute(promotion_intents.insert(), complete)
    return complete


def open_intents(warehouse: Warehouse, model: str) -> list[dict[str, Any]]:
    """Moves of a model that are not audited yet, oldest first."""
    query = (
        select(promotion_intents)
        .where(promotion_intents.c.model == model, promotion_intents.c.completed_at.is_(None))
        .order_by(promotion_intents.c.created_at)
    )
    with warehouse.connect() as connection:
        return [read_row(row) for row in connection.execute(query).mappings()]


def complete_intent(warehouse: Warehouse, intent: Mapping[str, Any], *, promoted: bool, reason: str) -> dict[str, Any]:
    """Audit an intent and close it, in one transaction. Returns the audit row; of two, the one written first."""
    row = {
        "id": intent["id"],
        "model": intent["model"],
        "version": intent["version"],
        "previous": intent["previous"],
        "action": intent["action"] if promoted or intent["action"] == "rollback" else "refuse",
        "promoted": promoted,
        "reason": reason,
        "detail": intent["decision"]["detail"],
        "run_id": intent["pointer"]["run_id"],
    }
    closing = update(promotion_intents).where(promotion_intents.c.id == intent["id"])
    try:
        with warehouse.begin() as connection:
            row["decided_at"] = _next_decision(connection, intent["model"])
            connection.execute(promotions.insert(), row)
            connection.execute(closing.values(completed_at=row["decided_at"]))
    except IntegrityError:
        audited = promotion(warehouse, intent["id"])
        if audited is None:
            raise
        return audited
    return row


def _next_decision(connection: Connection, model: str) -> datetime:
    """The current time, or just after the newest decision: a clock that is set back does not reorder the audit."""
    newest = connection.execute(
        select(promotions.c.decided_at)
        .where(promotions.c.model == model)
        .order_by(promotions.c.decided_at.desc())
        .limit(1)
    ).scalar()
    now = utc_now()
    return now if newest is None else max(now, as_utc(newest) + timedelta(microseconds=1))


def promotion_history(warehouse: Warehouse, model: str, limit: int = 50) -> list[dict[str, Any]]:
    """Decisions on a model's versions, newest first."""
    query = select(promotions).where(promotions.c.model == model).order_by(promotions.c.decided_at.desc()).limit(limit)
    with warehouse.connect() as connection:
        return [read_row(row) for row in connection.execute(query).mappings()]


def promotion(warehouse: Warehouse, promotion_id: str) -> dict[str, Any] | None:
    """One decision; None where there is none."""
    with warehouse.connect() as connection:
        row = connection.execute(select(promotions).where(promotions.c.id == promotion_id)).mappings().first()
    return read_row(row) if row else None


def rolled_back_versions(warehouse: Warehouse, model: str) -> list[str]:
    """Versions that a user or a rollout rolled back and to which no user has returned since: blocked from promotion."""
    query = (
        select(promotions.c.action, promotions.c.version, promotions.c.previous)
        .where(promotions.c.model == model, or_(promotions.c.promoted, promotions.c.action == "rollout_back"))
        .order_by(promotions.c.decided_at)
    )
    blocked: dict[str, None] = {}
    with warehouse.connect() as connection:
        for action, version, previous in connection.execute(query):
            if action == "rollout_back":
                blocked[version] = None
            elif action == "rollback":
                if previous:
                    blocked[previous] = None
                blocked.pop(version, None)
    return list(blocked)


def served_versions(warehouse: Warehouse, model: str) -> list[str]:
    """Versions that were champion, by the audit, oldest first; repeated where one became champion again."""
    query = (
        select(promotions.c.version)
        .where(promotions.c.model == model, promotions.c.promoted)
        .order_by(promotions.c.decided_at)
    )
    with warehouse.connect() as connection:
        return [str(version) for version in connection.execute(query).scalars()]


def decision_of_run(warehouse: Warehouse, run_id: str) -> tuple[bool, str] | None:
    """Whether a run moved the pointer, and the reason of its last decision; None for a run without a decision."""
    query = (
        select(promotions.c.promoted, promotions.c.reason)
        .where(promotions.c.run_id == run_id)
        .order_by(promotions.c.decided_at.desc())
        .limit(1)
    )
    with warehouse.connect() as connection:
        row = connection.execute(query).first()
    return None if row is None else (bool(row.promoted), str(row.reason))


def began_rollout(warehouse: Warehouse, run_id: str) -> bool:
    """Whether a training's run began a rollout instead of moving the pointer."""
    query = select(promotions.c.id).where(promotions.c.run_id == run_id, promotions.c.action == "rollout_start")
    with warehouse.connect() as connection:
        return connection.execute(query.limit(1)).first() is not None


def moves_since(warehouse: Warehouse, model: str, since: datetime) -> list[dict[str, Any]]:
    """Promotions and rollbacks that moved the pointer, audited after a time, oldest first."""
    query = (
        select(promotions)
        .where(promotions.c.model == model, promotions.c.promoted, promotions.c.decided_at > since)
        .order_by(promotions.c.decided_at)
    )
    with warehouse.connect() as connection:
        return [read_row(row) for row in connection.execute(query).mappings()]
