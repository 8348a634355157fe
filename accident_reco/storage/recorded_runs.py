"""Runs as the warehouse knows them: trainings with the gate's decision, drift checks, requests under way."""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import literal, select, union_all
from sqlalchemy.sql.elements import ColumnElement

from accident_reco.storage.clock import read_row
from accident_reco.storage.tables.lifecycle import promotions, work_requests
from accident_reco.storage.tables.loop import drift_reports
from accident_reco.storage.warehouse import Warehouse

# Dagster's run ids are UUIDs; decisions of other components carry names of their own, such as `api:<request>`.
_RUN_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


def latest_runs(warehouse: Warehouse, limit: int = 20) -> list[dict[str, Any]]:
    """Newest first: `at`, `kind` (`training`, `rollback`, `drift`, `request`), `model`, `run_id`, `outcome`, `reason`.

    `run_id` is None where no run of Dagster did it.
    """

    def shape(at: Any, kind: ColumnElement[Any], model: Any, run_id: Any, outcome: Any, reason: Any) -> Any:
        columns = {"at": at, "kind": kind, "model": model, "run_id": run_id, "outcome": outcome, "reason": reason}
        return select(*(column.label(name) for name, column in columns.items())).order_by(at.desc()).limit(limit)

    p, d, w = promotions.c, drift_reports.c, work_requests.c
    is_rollback = p.action == "rollback"
    parts = [
        shape(p.decided_at, literal("training"), p.model, p.run_id, p.action, p.reason).where(~is_rollback),
        shape(p.decided_at, literal("rollback"), p.model, p.run_id, p.action, p.reason).where(is_rollback),
        shape(d.computed_at, literal("drift"), d.model, d.run_id, d.status, d.reason),
        shape(w.updated_at, literal("request"), w.model, w.run_id, w.status, w.reason).where(
            w.status.in_(("queued", "running"))
        ),
    ]
    # SQLite accepts ORDER BY and LIMIT in a part of a union only inside of a query of its own.
    all_parts = union_all(*(select(part.subquery()) for part in parts)).subquery()
    newest = select(all_parts).order_by(all_parts.c.at.desc()).limit(limit)
    with warehouse.connect() as connection:
        rows = [read_row(row) for row in connection.execute(newest).mappings()]
    return [row | {"run_id": row["run_id"] if _RUN_ID.match(row["run_id"] or "") else None} for row in rows]
