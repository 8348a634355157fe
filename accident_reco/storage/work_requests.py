"""Requests for trainings and rollbacks: queue, progress, and the counts that the retrain policy needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import func, or_, select, update
from sqlalchemy.exc import IntegrityError

from accident_reco.storage.clock import as_utc, read_row, utc_now
from accident_reco.storage.tables.lifecycle import promotions, work_requests
from accident_reco.storage.warehouse import Warehouse

OPEN: Final = ("queued", "running")


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
    """Queue a request. Returns the row and whether it is new: one `dedupe_key` always has one row."""
    at = utc_now()
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
            return read_row(connection.execute(query).mappings().one()), False
    return row | {"outcome": None, "run_id": None}, True


def work_request(warehouse: Warehouse, request_id: str) -> dict[str, Any] | None:
    """One request; None where there is none."""
    with warehouse.connect() as connection:
        row = connection.execute(select(work_requests).where(work_requests.c.id == request_id)).mappings().first()
    return read_row(row) if row else None


def list_requests(
    warehouse: Warehouse,
    kind: str,
    *,
    model: str | None = None,
    status: str | None = None,
    source: str | None = None,
    before: datetime | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """Requests of a kind, newest first; `before` is the time that a page ends before (UTC)."""
    query = select(work_requests).where(work_requests.c.kind == kind)
    for column, value in (("model", model), ("status", status), ("source", source)):
        if value is not None:
            query = query.where(work_requests.c[column] == value)
    if before is not None:
        query = query.where(work_requests.c.requested_at < before)
    query = query.order_by(work_requests.c.requested_at.desc(), work_requests.c.id).limit(limit)
    with warehouse.connect() as connection:
        return [read_row(row) for row in connection.execute(query).mappings()]


def request_by_key(warehouse: Warehouse, dedupe_key: str) -> dict[str, Any] | None:
    """The request with this key; None where there is none."""
    with warehouse.connect() as connection:
        row = (
            connection.execute(select(work_requests).where(work_requests.c.dedupe_key == dedupe_key)).mappings().first()
        )
    return read_row(row) if row else None


def open_requests(warehouse: Warehouse, kind: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """Queued and running requests, oldest first."""
    query = select(work_requests).where(work_requests.c.status.in_(OPEN)).order_by(work_requests.c.requested_at)
    if kind:
        query = query.where(work_requests.c.kind == kind)
    with warehouse.connect() as connection:
        return [read_row(row) for row in connection.execute(query.limit(limit)).mappings()]


def advance_request(
    warehouse: Warehouse, request_id: str, status: str, *, run_id: str | None = None, outcome: str | None = None
) -> bool:
    """Set the status of an open request. Returns whether it changed: a closed request stays as it is."""
    values: dict[str, Any] = {"status": status, "updated_at": utc_now()}
    if run_id is not None:
        values["run_id"] = run_id
    if outcome is not None:
        values["outcome"] = outcome
    query = update(work_requests).where(work_requests.c.id == request_id, work_requests.c.status.in_(OPEN))
    with warehouse.begin() as connection:
        return connection.execute(query.values(**values)).rowcount == 1


def automatic_trainings(
    warehouse: Warehouse, model: str, since: datetime, excluded: str | None = None
) -> list[datetime]:
    """UTC times at which automatic trainings were requested since a time, except the request `excluded`.

    A request that the policy held back does not count (`held`; of older releases `done` without a run); a run that
    ended without a decision is `done`, and counts.
    """
    query = select(work_requests.c.requested_at).where(
        work_requests.c.model == model,
        work_requests.c.kind == "training",
        work_requests.c.source != "api",
        or_(work_requests.c.status.not_in(("done", "held")), work_requests.c.run_id.is_not(None)),
        work_requests.c.requested_at >= since,
    )
    if excluded is not None:
        query = query.where(work_requests.c.id != excluded)
    with warehouse.connect() as connection:
        return [as_utc(at) for at in connection.execute(query).scalars()]


def request_training(warehouse: Warehouse, model: str, requested_by: str, reason: str) -> tuple[dict[str, Any], bool]:
    """Queue a user's training, or join the one that a user has queued: returns the row and whether it is new.

    The key stays the same until that training has started, so that concurrent requests join too.
    """
    of_users = (
        work_requests.c.model == model,
        work_requests.c.kind == "training",
        work_requests.c.source == "api",
    )
    queued = select(work_requests).where(*of_users, work_requests.c.status == "queued")
    started = select(func.count()).where(*of_users, work_requests.c.status != "queued")
    with warehouse.connect() as connection:
        number = connection.execute(started).scalar_one()
        row = connection.execute(queued.order_by(work_requests.c.requested_at).limit(1)).mappings().first()
    if row is not None:
        return read_row(row), False
    return request_work(
        warehouse,
        kind="training",
        model=model,
        source="api",
        requested_by=requested_by,
        reason=reason,
        dedupe_key=f"training:{model}:{number}",
    )


def open_training(warehouse: Warehouse, model: str, excluded: str | None = None) -> str | None:
    """Id of the oldest training that is queued or running, except the request `excluded`; None where there is none."""
    query = select(work_requests.c.id).where(
        work_requests.c.model == model, work_requests.c.kind == "training", work_requests.c.status.in_(OPEN)
    )
    if excluded is not None:
        query = query.where(work_requests.c.id != excluded)
    with warehouse.connect() as connection:
        return connection.execute(query.order_by(work_requests.c.requested_at).limit(1)).scalar()


def consecutive_rejections(warehouse: Warehouse, model: str) -> tuple[int, datetime | None]:
    """Number of automatic trainings that were rejected or failed since the last promotion, and the last end (UTC)."""
    promoted = select(func.max(promotions.c.decided_at)).where(promotions.c.model == model, promotions.c.promoted)
    query = select(func.count(), func.max(work_requests.c.updated_at)).where(
        work_requests.c.model == model,
        work_requests.c.kind == "training",
        work_requests.c.source != "api",
        work_requests.c.status.in_(("refused", "failed")),
    )
    with warehouse.connect() as connection:
        since = connection.execute(promoted).scalar()
        if since is not None:
            query = query.where(work_requests.c.updated_at > since)
        count, last = connection.execute(query).one()
    return int(count), None if last is None else as_utc(last)


def closed_trainings(warehouse: Warehouse, model: str) -> int:
    """Number of closed training requests of a model."""
    query = select(func.count()).where(
        work_requests.c.model == model, work_requests.c.kind == "training", work_requests.c.status.not_in(OPEN)
    )
    with warehouse.connect() as connection:
        return int(connection.execute(query).scalar_one())
