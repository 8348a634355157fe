"""Reads and writes drift reports, alerts, retrain decisions and notifications."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from accident_reco.storage.lifecycle import OPEN
from accident_reco.storage.tables.lifecycle import promotions, work_requests
from accident_reco.storage.tables.loop import alerts, drift_reports, notifications, retrain_decisions
from accident_reco.storage.warehouse import Warehouse

LOG_WINDOW = "log"
"""The window that the loop looks at; any other is an analyst's question and moves nothing."""


def _utc(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(name): value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
        for name, value in row.items()
    }


# Reports


def save_report(warehouse: Warehouse, row: Mapping[str, Any]) -> None:
    """Append a report; its `id` is new."""
    with warehouse.begin() as connection:
        connection.execute(insert(drift_reports), dict(row))


def report(warehouse: Warehouse, report_id: str) -> dict[str, Any] | None:
    """One report, or None."""
    with warehouse.connect() as connection:
        row = connection.execute(select(drift_reports).where(drift_reports.c.id == report_id)).mappings().first()
    return _utc(row) if row else None


def latest_report(warehouse: Warehouse, model: str, window: str = LOG_WINDOW) -> dict[str, Any] | None:
    """The newest report of a model on a window, or None."""
    found = reports(warehouse, model, limit=1, window=window)
    return found[0] if found else None


def reports(warehouse: Warehouse, model: str, *, limit: int = 50, window: str | None = None) -> list[dict[str, Any]]:
    """Newest reports first; of every window when none is named."""
    query = select(drift_reports).where(drift_reports.c.model == model)
    if window is not None:
        query = query.where(drift_reports.c.window_name == window)
    query = query.order_by(drift_reports.c.computed_at.desc(), drift_reports.c.id).limit(limit)
    with warehouse.connect() as connection:
        return [_utc(row) for row in connection.execute(query).mappings()]


def recent_verdicts(
    warehouse: Warehouse, model: str, version: str, until: datetime | None = None, limit: int = 20
) -> list[bool]:
    """Whether each log window judged against `version` had drifted, newest first.

    Too little data does not count, and neither does a window whose newest row was the newest one before: the same rows
    are no second witness.
    """
    query = select(drift_reports.c.status, drift_reports.c.until).where(
        drift_reports.c.model == model,
        drift_reports.c.version == version,
        drift_reports.c.window_name == LOG_WINDOW,
        drift_reports.c.status != "insufficient_data",
    )
    if until is not None:
        query = query.where(drift_reports.c.computed_at <= until)
    query = query.order_by(drift_reports.c.computed_at.desc(), drift_reports.c.id).limit(20 * limit)
    verdicts: list[bool] = []
    newest: datetime | None = None
    with warehouse.connect() as connection:
        for status, last_row in connection.execute(query):
            if last_row is None or last_row != newest:
                verdicts.append(status == "drift")
            newest = last_row
    return verdicts[:limit]


def save_page(warehouse: Warehouse, report_id: str, key: str | None, problem: str | None = None) -> dict[str, Any]:
    """Record where a report's HTML is, or why it has none; `report_key` and `document` as they are then."""
    one = drift_reports.c.id == report_id
    with warehouse.begin() as connection:
        document = connection.execute(select(drift_reports.c.document).where(one)).scalar() or {}
        values = {"report_key": key, "document": document | {"page_problem": problem}}
        connection.execute(update(drift_reports).where(one).values(**values))
    return values


def pages_beyond(warehouse: Warehouse, model: str, keep: int) -> list[tuple[str, str]]:
    """Id and object key of every report that has HTML, but the `keep` newest ones."""
    paged = (
        select(drift_reports.c.id, drift_reports.c.report_key)
        .where(drift_reports.c.model == model, drift_reports.c.report_key.is_not(None))
        .order_by(drift_reports.c.computed_at.desc(), drift_reports.c.id)
    )
    with warehouse.connect() as connection:
        return [(row.id, row.report_key) for row in connection.execute(paged).all()[keep:]]


def forget_page(warehouse: Warehouse, report_id: str) -> None:
    """The HTML of a report was deleted; its figures stay."""
    with warehouse.begin() as connection:
        connection.execute(update(drift_reports).where(drift_reports.c.id == report_id).values(report_key=None))


# What the retrain policy asks


def automatic_trainings(
    warehouse: Warehouse, model: str, since: datetime, leave_out: str | None = None
) -> list[datetime]:
    """UTC times at which automatic trainings were requested since a time; `leave_out` is a request id.

    A request that the policy turned down is `done` without a run and does not count; a run that ended without a
    decision is `done` too, and has used the machine like any other.
    """
    query = select(work_requests.c.requested_at).where(
        work_requests.c.model == model,
        work_requests.c.kind == "training",
        work_requests.c.source != "api",
        or_(work_requests.c.status != "done", work_requests.c.run_id.is_not(None)),
        work_requests.c.requested_at >= since,
    )
    if leave_out is not None:
        query = query.where(work_requests.c.id != leave_out)
    with warehouse.connect() as connection:
        return [_utc({"at": at})["at"] for at in connection.execute(query).scalars()]


def open_training(warehouse: Warehouse, model: str, leave_out: str | None = None) -> str | None:
    """Id of the oldest training that is queued or runs, or None; `leave_out` is a request id."""
    query = select(work_requests.c.id).where(
        work_requests.c.model == model, work_requests.c.kind == "training", work_requests.c.status.in_(OPEN)
    )
    if leave_out is not None:
        query = query.where(work_requests.c.id != leave_out)
    with warehouse.connect() as connection:
        return connection.execute(query.order_by(work_requests.c.requested_at).limit(1)).scalar()


def losses_in_a_row(warehouse: Warehouse, model: str) -> tuple[int, datetime | None]:
    """Trainings that nobody asked for and that lost or failed since the last promotion, and when the last one did."""
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
    return int(count), None if last is None else _utc({"at": last})["at"]


def decision_of_run(warehouse: Warehouse, run_id: str) -> tuple[bool, str] | None:
    """Whether a run moved the pointer and the reason, by its last decision, or None when it decided nothing."""
    query = (
        select(promotions.c.promoted, promotions.c.reason)
        .where(promotions.c.run_id == run_id)
        .order_by(promotions.c.decided_at.desc())
        .limit(1)
    )
    with warehouse.connect() as connection:
        row = connection.execute(query).first()
    return None if row is None else (bool(row.promoted), str(row.reason))


def moves_since(warehouse: Warehouse, model: str, since: datetime) -> list[dict[str, Any]]:
    """Promotions and rollbacks that moved the pointer, audited after a time, oldest first."""
    query = (
        select(promotions)
        .where(promotions.c.model == model, promotions.c.promoted, promotions.c.decided_at > since)
        .order_by(promotions.c.decided_at)
    )
    with warehouse.connect() as connection:
        return [_utc(row) for row in connection.execute(query).mappings()]


def closed_trainings(warehouse: Warehouse, model: str) -> int:
    """How many training requests of a model have come to an end."""
    query = select(func.count()).where(
        work_requests.c.model == model, work_requests.c.kind == "training", work_requests.c.status.not_in(OPEN)
    )
    with warehouse.connect() as connection:
        return int(connection.execute(query).scalar_one())


# Decisions, alerts, notifications


def decision_on(warehouse: Warehouse, model: str, source: str, trigger: str) -> dict[str, Any] | None:
    """What was decided on a trigger, or None."""
    query = select(retrain_decisions).where(
        retrain_decisions.c.model == model,
        retrain_decisions.c.source == source,
        retrain_decisions.c.trigger_id == trigger,
    )
    with warehouse.connect() as connection:
        row = connection.execute(query).mappings().first()
    return _utc(row) if row else None


def record_decision(warehouse: Warehouse, row: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the decision on a trigger; if there is one already, that one stands and is given back."""
    complete = {"id": uuid4().hex, "decided_at": datetime.now(UTC), **row}
    try:
        with warehouse.begin() as connection:
            connection.execute(insert(retrain_decisions), complete)
        return complete
    except IntegrityError:
        kept = decision_on(warehouse, complete["model"], complete["source"], complete["trigger_id"])
        if kept is None:
            raise
        return kept


def acted_on(warehouse: Warehouse, model: str, source: str, prefix: str) -> bool:
    """Whether a trigger whose id starts with `prefix` has led to a training or a suggestion."""
    query = select(func.count()).where(
        retrain_decisions.c.model == model,
        retrain_decisions.c.source == source,
        retrain_decisions.c.trigger_id.startswith(prefix, autoescape=True),
        retrain_decisions.c.action != "wait",
    )
    with warehouse.connect() as connection:
        return bool(connection.execute(query).scalar_one())


def decisions(warehouse: Warehouse, model: str, limit: int = 50) -> list[dict[str, Any]]:
    """Newest decisions first."""
    query = (
        select(retrain_decisions)
        .where(retrain_decisions.c.model == model)
        .order_by(retrain_decisions.c.decided_at.desc())
        .limit(limit)
    )
    with warehouse.connect() as connection:
        return [_utc(row) for row in connection.execute(query).mappings()]


def seen_alert(warehouse: Warehouse, alert_id: str) -> dict[str, Any] | None:
    """The alert's first arrival, or None."""
    with warehouse.connect() as connection:
        row = connection.execute(select(alerts).where(alerts.c.id == alert_id)).mappings().first()
    return _utc(row) if row else None


def remember_alert(warehouse: Warehouse, row: Mapping[str, Any]) -> bool:
    """Keep an alert; False when it was there already."""
    try:
        with warehouse.begin() as connection:
            connection.execute(insert(alerts), {"received_at": datetime.now(UTC), **row})
        return True
    except IntegrityError:
        return False


def alert_asks_anew(warehouse: Warehouse, alert_id: str, request_id: str) -> None:
    """An alert that was held back and still fires has made or joined another request."""
    with warehouse.begin() as connection:
        connection.execute(update(alerts).where(alerts.c.id == alert_id).values(request_id=request_id))


def alerts_of(warehouse: Warehouse, request_id: str) -> list[str]:
    """Names of the alerts that made or joined a request."""
    query = select(alerts.c.name).where(alerts.c.request_id == request_id).distinct()
    with warehouse.connect() as connection:
        return list(connection.execute(query).scalars())


def open_notification(warehouse: Warehouse, kind: str, subject: str, text: str) -> bool:
    """Record that people are to be told something; False when they were told before."""
    row = {
        "id": f"{kind}:{subject}"[:64],
        "kind": kind,
        "subject": subject[:128],
        "text": text,
        "delivered": "recorded",
        "created_at": datetime.now(UTC),
    }
    try:
        with warehouse.begin() as connection:
            connection.execute(insert(notifications), row)
        return True
    except IntegrityError:
        return False


def close_notification(warehouse: Warehouse, kind: str, subject: str, delivered: str) -> None:
    """Say how a notification went: sent or failed."""
    with warehouse.begin() as connection:
        connection.execute(
            update(notifications).where(notifications.c.id == f"{kind}:{subject}"[:64]).values(delivered=delivered)
        )


def request_by_key(warehouse: Warehouse, dedupe_key: str) -> dict[str, Any] | None:
    """The work request with this key, or None."""
    with warehouse.connect() as connection:
        row = (
            connection.execute(select(work_requests).where(work_requests.c.dedupe_key == dedupe_key)).mappings().first()
        )
    return _utc(row) if row else None
