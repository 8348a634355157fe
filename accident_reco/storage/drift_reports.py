"""Drift reports: reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import insert, select, update

from accident_reco.storage.clock import read_row
from accident_reco.storage.tables.loop import drift_reports
from accident_reco.storage.warehouse import Warehouse

LOG_WINDOW: Final = "log"
"""Name of the window that retraining depends on; checks of any other window trigger nothing."""


def save_report(warehouse: Warehouse, row: Mapping[str, Any]) -> None:
    """Append a report; its `id` is new."""
    with warehouse.begin() as connection:
        connection.execute(insert(drift_reports), dict(row))


def report(warehouse: Warehouse, report_id: str) -> dict[str, Any] | None:
    """One report; None where there is none."""
    with warehouse.connect() as connection:
        row = connection.execute(select(drift_reports).where(drift_reports.c.id == report_id)).mappings().first()
    return read_row(row) if row else None


def latest_report(warehouse: Warehouse, model: str, window: str = LOG_WINDOW) -> dict[str, Any] | None:
    """The newest report of a model on a window; None where there is none."""
    found = reports(warehouse, model, limit=1, window=window)
    return found[0] if found else None


def reports(warehouse: Warehouse, model: str, *, limit: int = 50, window: str | None = None) -> list[dict[str, Any]]:
    """Reports of a model on a window (None: on every window), newest first."""
    query = select(drift_reports).where(drift_reports.c.model == model)
    if window is not None:
        query = query.where(drift_reports.c.window_name == window)
    query = query.order_by(drift_reports.c.computed_at.desc(), drift_reports.c.id).limit(limit)
    with warehouse.connect() as connection:
        return [read_row(row) for row in connection.execute(query).mappings()]


def recent_verdicts(
    warehouse: Warehouse, model: str, version: str, until: datetime | None = None, limit: int = 20
) -> list[bool]:
    """Whether each log window compared with `version` had drifted, newest first.

    Windows with insufficient data do not count. Neither does one whose newest row is that of the window before: the
    same rows do not count as independent evidence.
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


def save_html_key(
    warehouse: Warehouse, report_id: str, key: str | None, problem: str | None = None, policy: str | None = None
) -> dict[str, Any]:
    """Record the object key of an HTML report, or why it has none. Returns the columns `report_key` and `document`.

    Args:
        policy: content security policy of the HTML as it was rendered; None: as recorded before.
    """
    one = drift_reports.c.id == report_id
    with warehouse.begin() as connection:
        document = connection.execute(select(drift_reports.c.document).where(one)).scalar() or {}
        values: dict[str, Any] = {"report_key": key, "document": document | {"page_problem": problem}}
        if policy is not None:
            values["document"]["page_policy"] = policy
        connection.execute(update(drift_reports).where(one).values(**values))
    return values


def html_keys_beyond(warehouse: Warehouse, model: str, keep: int) -> list[tuple[str, str]]:
    """Id and object key of every HTML report, except the `keep` newest ones."""
    query = (
        select(drift_reports.c.id, drift_reports.c.report_key)
        .where(drift_reports.c.model == model, drift_reports.c.report_key.is_not(None))
        .order_by(drift_reports.c.computed_at.desc(), drift_reports.c.id)
    )
    with warehouse.connect() as connection:
        return [(row.id, row.report_key) for row in connection.execute(query).all()[keep:]]


def delete_html_key(warehouse: Warehouse, report_id: str) -> None:
    """Record that an HTML report was deleted; its figures stay."""
    with warehouse.begin() as connection:
        connection.execute(update(drift_reports).where(drift_reports.c.id == report_id).values(report_key=None))
