"""Reads and writes the prediction log and feedback: bulk inserts, windows, labels, retention, erasure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import DateTime, column, delete, func, insert, select, table, update
from sqlalchemy.exc import IntegrityError

from accident_reco.storage.tables.inference import feedback, predictions
from accident_reco.storage.warehouse import Warehouse

# The log's writer shares the interpreter with the answers: JSON is written by orjson, and only times need converting.
_BULK_INSERT = insert(
    table(
        "predictions",
        *(column(c.name, c.type if isinstance(c.type, DateTime) else None) for c in predictions.columns),
    )
)
# Rows deleted in one transaction: short enough for the log's inserts to get through meanwhile.
DELETE_CHUNK = 5_000


def _utc(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _row(row: Any) -> dict[str, Any]:
    return {str(name): _utc(value) if isinstance(value, datetime) else value for name, value in row.items()}


def insert_predictions(warehouse: Warehouse, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows of the log in one transaction."""
    if rows:
        ready = [{**row, "inputs": _json(row["inputs"]), "answer": _json(row["answer"])} for row in rows]
        with warehouse.begin() as connection:
            connection.execute(_BULK_INSERT, ready)


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def prediction_window(
    warehouse: Warehouse,
    model: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 50_000,
) -> list[dict[str, Any]]:
    """Answered predictions of a model, newest first: what a drift check looks at."""
    query = select(predictions).where(predictions.c.model == model, predictions.c.status == 200)
    if since is not None:
        query = query.where(predictions.c.at >= since)
    if until is not None:
        query = query.where(predictions.c.at < until)
    with warehouse.connect() as connection:
        rows = connection.execute(query.order_by(predictions.c.at.desc()).limit(limit)).mappings()
        return [_row(row) for row in rows]


def count_predictions(warehouse: Warehouse, model: str, since: datetime | None = None) -> int:
    """How many predictions a model answered."""
    query = select(func.count()).where(predictions.c.model == model, predictions.c.status == 200)
    if since is not None:
        query = query.where(predictions.c.at >= since)
    with warehouse.connect() as connection:
        return int(connection.execute(query).scalar_one())


def prediction(warehouse: Warehouse, prediction_id: str) -> dict[str, Any] | None:
    """One row of the log, or None."""
    with warehouse.connect() as connection:
        row = connection.execute(select(predictions).where(predictions.c.id == prediction_id)).mappings().first()
    return _row(row) if row else None


def add_feedback(warehouse: Warehouse, row: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Store a label: `new`, `same` (said before, nothing changes) or `other` (another label is kept)."""
    try:
        with warehouse.begin() as connection:
            connection.execute(insert(feedback), dict(row))
        return dict(row), "new"
    except IntegrityError:
        with warehouse.connect() as connection:
            found = (
                connection.execute(select(feedback).where(feedback.c.prediction_id == row["prediction_id"]))
                .mappings()
                .one()
            )
        return _row(found), "same" if found["severity"] == row["severity"] else "other"


def labelled_predictions(
    warehouse: Warehouse, model: str, *, since: datetime | None = None, limit: int = 50_000
) -> list[dict[str, Any]]:
    """Predictions with the label that came back (`grave`, `severity`), newest label first."""
    query = (
        select(predictions, feedback.c.grave, feedback.c.severity, feedback.c.at.label("labelled_at"))
        .join(feedback, feedback.c.prediction_id == predictions.c.id)
        .where(feedback.c.model == model)
    )
    if since is not None:
        query = query.where(feedback.c.at >= since)
    with warehouse.connect() as connection:
        rows = connection.execute(query.order_by(feedback.c.at.desc()).limit(limit)).mappings()
        return [_row(row) for row in rows]


def drop_older_than(warehouse: Warehouse, age: timedelta) -> int:
    """Retention: delete predictions and labels past their age, in short transactions. Gives the row count."""
    before = datetime.now(UTC) - age
    dropped = 0
    for records, key in ((predictions, predictions.c.id), (feedback, feedback.c.prediction_id)):
        while True:
            with warehouse.begin() as connection:
                old = select(key).where(records.c.at < before).limit(DELETE_CHUNK).scalar_subquery()
                done = connection.execute(delete(records).where(key.in_(old))).rowcount
            dropped += done
            if done < DELETE_CHUNK:
                break
    return dropped


def erase_user(warehouse: Warehouse, user_name: str) -> dict[str, int]:
    """Erasure: delete what an account asked, and take its name off the labels that it gave."""
    with warehouse.begin() as connection:
        asked = select(predictions.c.id).where(predictions.c.user_name == user_name).scalar_subquery()
        labels = connection.execute(delete(feedback).where(feedback.c.prediction_id.in_(asked))).rowcount
        rows = connection.execute(delete(predictions).where(predictions.c.user_name == user_name)).rowcount
        connection.execute(update(feedback).where(feedback.c.user_name == user_name).values(user_name=None))
    return {"predictions": rows, "feedback": labels}
