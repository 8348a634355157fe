"""Decisions of the retrain policy: reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from accident_reco.storage.clock import read_row, utc_now
from accident_reco.storage.tables.loop import retrain_decisions
from accident_reco.storage.warehouse import Warehouse


def find_decision(warehouse: Warehouse, model: str, source: str, trigger: str) -> dict[str, Any] | None:
    """The decision on a trigger; None before there is one."""
    query = select(retrain_decisions).where(
        retrain_decisions.c.model == model,
        retrain_decisions.c.source == source,
        retrain_decisions.c.trigger_id == trigger,
    )
    with warehouse.connect() as connection:
        row = connection.execute(query).mappings().first()
    return read_row(row) if row else None


def record_decision(warehouse: Warehouse, row: Mapping[str, Any]) -> dict[str, Any]:
    """Record the decision on a trigger. Returns the row that stands: the one written first."""
    complete = {"id": uuid4().hex, "decided_at": utc_now(), **row}
    try:
        with warehouse.begin() as connection:
            connection.execute(insert(retrain_decisions), complete)
        return complete
    except IntegrityError:
        kept = find_decision(warehouse, complete["model"], complete["source"], complete["trigger_id"])
        if kept is None:
            raise
        return kept


def is_handled(warehouse: Warehouse, model: str, source: str, prefix: str) -> bool:
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
    """Decisions on a model's triggers, newest first."""
    query = (
        select(retrain_decisions)
        .where(retrain_decisions.c.model == model)
        .order_by(retrain_decisions.c.decided_at.desc())
        .limit(limit)
    )
    with warehouse.connect() as connection:
        return [read_row(row) for row in connection.execute(query).mappings()]
