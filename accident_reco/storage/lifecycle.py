"""Reads and writes the promotion audit with its intents, and the requests for work."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from accident_reco.storage.tables.lifecycle import model_metrics, promotion_intents, promotions, work_requests
from accident_reco.storage.warehouse import Warehouse

OPEN = ("queued", "running")
CLOSED = ("promoted", "refused", "failed", "done")


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
    """Append a decision to the audit and give its id."""
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


def record_intent(warehouse: Warehouse, row: Mapping[str, Any]) -> dict[str, Any]:
    """Write a move down before it happens; an equal one (same `id`) that is there already stands. Returns the row."""
    complete = {**row, "created_at": datetime.now(UTC), "completed_at": None}
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
        return [dict(row) for row in connection.execute(query).mappings()]


def complete_intent(warehouse: Warehouse, intent: Mapping[str, Any], *, promoted: bool, reason: str) -> dict[str, Any]:
    """Audit an intent and close it, in one transaction. Returns the audit row; the first one written stands."""
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
    """UTC now, or just after the model's newest decision: a clock that was set back does not reorder the audit."""
    newest = connection.execute(
        select(promotions.c.decided_at)
        .where(promotions.c.model == model)
        .order_by(promotions.c.decided_at.desc())
        .limit(1)
    ).scalar()
    now = datetime.now(UTC)
    if newest is None:
        return now
    aware = newest if newest.tzinfo else newest.replace(tzinfo=UTC)
    return max(now, aware + timedelta(microseconds=1))


def promotion_history(warehouse: Warehouse, model: str, limit: int = 50) -> list[dict[str, Any]]:
    """Newest decisions first."""
    query = select(promotions).where(promotions.c.model == model).order_by(promotions.c.decided_at.desc()).limit(limit)
    with warehouse.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def promotion(warehouse: Warehouse, promotion_id: str) -> dict[str, Any] | None:
    """One decision, or None."""
    with warehouse.connect() as connection:
        row = connection.execute(select(promotions).where(promotions.c.id == promotion_id)).mappings().first()
    return dict(row) if row else None


def rolled_back_versions(warehouse: Warehouse, model: str) -> list[str]:
    """Versions that a person rolled away from and that no person has promoted since."""
    query = (
        select(promotions.c.action, promotions.c.version, promotions.c.previous)
        .where(promotions.c.model == model, promotions.c.promoted)
        .order_by(promotions.c.decided_at)
    )
    barred: dict[str, None] = {}
    with warehouse.connect() as connection:
        for action, version, previous in connection.execute(query):
            if action == "rollback":
                if previous:
                    barred[previous] = None
                barred.pop(version, None)
    return list(barred)


def save_metrics(
    warehouse: Warehouse, model: str, version: str, metrics: Mapping[str, Any], data_source: str, created_at: str
) -> None:
    """Replaces the metrics of one model version; what is not a number is left out."""
    numbers = {name: float(value) for name, value in metrics.items()
               if isinstance(value, int | float) and not isinstance(value, bool) and value == value}  # fmt: skip
    made = datetime.fromisoformat(created_at) if created_at else None
    rows = [
        {"model": model, "version": version, "metric": name[:64], "value": value, "data_source": data_source,
         "created_at": made}
        for name, value in numbers.items()
    ]  # fmt: skip
    with warehouse.begin() as connection:
        mine = (model_metrics.c.model == model) & (model_metrics.c.version == version)
        connection.execute(delete(model_metrics).where(mine))
        if rows:
            connection.execute(model_metrics.insert(), rows)


def has_metrics(warehouse: Warehouse, model: str, version: str) -> bool:
    """Whether metrics of a model version are there."""
    query = select(model_metrics.c.metric).where(model_metrics.c.model == model, model_metrics.c.version == version)
    with warehouse.connect() as connection:
        return connection.execute(query.limit(1)).first() is not None


def served_versions(warehouse: Warehouse, model: str) -> list[str]:
    """Versions that served, by the audit, oldest first; one that served again is named again."""
    query = (
        select(promotions.c.version)
        .where(promotions.c.model == model, promotions.c.promoted)
        .order_by(promotions.c.decided_at)
    )
    with warehouse.connect() as connection:
        return [str(version) for version in connection.execute(query).scalars()]


def request_work(
    warehouse: Warehouse,
    *,
    kind: str,
    model: str,
    source: str,
    requested_by: str,
    reason: str,
    detail: Mapping[str, Any] | None = None,
    dedupe_key: str | None = None,
) -> tuple[dict[str, Any], bool]:
    """Queue a request. Gives the row and whether it is new: the same `dedupe_key` always gives the same row."""
    at = datetime.now(UTC)
    row = {
        "id": uuid4().hex,
        "kind": kind,
        "model": model,
        "source": source,
        "requested_by": requested_by,
        "reason": reason,
        "detail": dict(detail or {}),
        "dedupe_key": dedupe_key,
        "status": "queued",
        "requested_at": at,
        "updated_at": at,
    }
    try:
        with warehouse.begin() as connection:
            connection.execute(work_requests.insert(), row)
    except IntegrityError:
        query = select(work_requests).where(work_requests.c.dedupe_key == dedupe_key)
        with warehouse.connect() as connection:
            return dict(connection.execute(query).mappings().one()), False
    return row | {"outcome": None, "run_id": None}, True


def work_request(warehouse: Warehouse, request_id: str) -> dict[str, Any] | None:
    """One request, or None."""
    with warehouse.connect() as connection:
        row = connection.execute(select(work_requests).where(work_requests.c.id == request_id)).mappings().first()
    return dict(row) if row else None


def open_requests(warehouse: Warehouse, kind: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """Queued and running requests, oldest first."""
    query = select(work_requests).where(work_requests.c.status.in_(OPEN)).order_by(work_requests.c.requested_at)
    if kind:
        query = query.where(work_requests.c.kind == kind)
    with warehouse.connect() as connection:
        return [dict(row) for row in connection.execute(query.limit(limit)).mappings()]


def count_requests(warehouse: Warehouse, model: str, kind: str, since: datetime) -> int:
    """How many requests of a kind a model got since a time (UTC)."""
    query = select(func.count()).where(
        work_requests.c.model == model, work_requests.c.kind == kind, work_requests.c.requested_at >= since
    )
    with warehouse.connect() as connection:
        return int(connection.execute(query).scalar_one())


def advance_request(
    warehouse: Warehouse, request_id: str, status: str, *, run_id: str | None = None, outcome: str | None = None
) -> bool:
    """Move an open request on; a closed one stays as it is. Gives whether it moved."""
    values: dict[str, Any] = {"status": status, "updated_at": datetime.now(UTC)}
    if run_id is not None:
        values["run_id"] = run_id
    if outcome is not None:
        values["outcome"] = outcome
    query = update(work_requests).where(work_requests.c.id == request_id, work_requests.c.status.in_(OPEN))
    with warehouse.begin() as connection:
        return connection.execute(query.values(**values)).rowcount == 1
