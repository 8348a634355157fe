"""The prediction log and feedback: bulk inserts, windows, labels, retention, erasure."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import orjson
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    Table,
    and_,
    case,
    cast,
    delete,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.exc import IntegrityError

from accident_reco.storage.clock import read_row, utc_now
from accident_reco.storage.tables.prediction_log import feedback, predictions
from accident_reco.storage.tables.rollout import rollout_calls
from accident_reco.storage.warehouse import Warehouse

_COLUMNS: Final = tuple(column.name for column in predictions.columns)
_ID, _AT, _ANSWER, _INPUTS = (_COLUMNS.index(name) for name in ("id", "at", "answer", "inputs"))
_get_all: Final = itemgetter(*_COLUMNS)
# Rows per statement. The log's writer shares the interpreter lock with request handling, and a driver releases it once
# per statement: one row per statement makes both wait for each other, very many rows delay responses.
_STATEMENT_ROWS: Final = 100
_COPY: Final = f"COPY {predictions.name} ({', '.join(_COLUMNS)}) FROM STDIN"
_COPY_CHARACTERS: Final = 1 << 20
# Of COPY's text format, whose null is not confused with a text: a backslash of a text is doubled.
_NULL: Final = "\\N"
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
# A process of the previous release may still write labels without the number.
LABEL_OUTCOME: Final = func.coalesce(feedback.c.outcome, cast(feedback.c.grave, Integer))
"""The label of a prediction as a number."""
# Rows deleted in one transaction, short enough for the log's inserts to proceed in between.
DELETE_CHUNK = 5_000
MONTHS_AHEAD: Final = 2
"""Partitions of the log on PostgreSQL that exist before their month begins."""


def insert_predictions(warehouse: Warehouse, rows: Sequence[Mapping[str, Any]], *, skip_known: bool = False) -> None:
    """Append rows of the log in one transaction.

    Args:
        skip_known: leave out rows whose id is stored: for rows that may have been sent before.
    """
    values = _to_values(rows, warehouse.is_sqlite)
    with warehouse.begin() as connection:
        if skip_known:
            ids = [row[_ID] for row in values]
            times = [row["at"] for row in rows]
            period = predictions.c.at.between(min(times, default=None), max(times, default=None))
            known = set(connection.scalars(select(predictions.c.id).where(period, predictions.c.id.in_(ids))))
            values = [row for row in values if row[_ID] not in known]
        if not values:
            return
        if not warehouse.is_sqlite:
            _copy(connection, values)
            return
        for start in range(0, len(values), _STATEMENT_ROWS):
            some = values[start : start + _STATEMENT_ROWS]
            # Written out for the driver: SQLAlchemy's own work per row costs more than the insert.
            connection.exec_driver_sql(_insert(len(some)), tuple(chain.from_iterable(some)))


@lru_cache(maxsize=_STATEMENT_ROWS)
def _insert(rows: int) -> str:
    one = f"({', '.join('?' * len(_COLUMNS))})"
    return f"INSERT INTO {predictions.name} ({', '.join(_COLUMNS)}) VALUES {', '.join([one] * rows)}"  # noqa: S608


def _copy(connection: Connection, values: Sequence[Sequence[Any]]) -> None:
    """Insert rows by COPY: filling values into a statement costs the driver ten times as much."""
    buffer = io.StringIO("".join(map(_to_copy_line, values)))
    with closing(connection.connection.cursor()) as cursor:
        cursor.copy_expert(_COPY, buffer, size=_COPY_CHARACTERS)


def _to_copy_line(row: Sequence[Any]) -> str:
    if None not in row:
        line = "\t".join(map(str, row))
        if "\\" not in line and "\n" not in line and "\r" not in line and line.count("\t") == len(row) - 1:
            return line + "\n"  # most rows: nothing to escape
    return "\t".join(_NULL if value is None else str(value).translate(_ESCAPES) for value in row) + "\n"


def _to_values(rows: Sequence[Mapping[str, Any]], is_sqlite: bool) -> list[list[Any]]:
    """Rows as the driver takes them, with the values in the table's order."""
    at: Any = None
    time = ""
    values: list[list[Any]] = []
    for row in rows:
        # Rows of the log have all columns.
        one = [*_get_all(row)] if len(row) == len(_COLUMNS) else [row.get(name) for name in _COLUMNS]
        if one[_AT] is not at:  # the rows of a call have the same
            at = one[_AT]
            # The format that SQLAlchemy writes and reads in SQLite.
            time = at.astimezone(UTC).isoformat(" ", "microseconds")[:26] if is_sqlite else str(at)
        one[_AT], one[_ANSWER], one[_INPUTS] = time, _json(one[_ANSWER]), _json(one[_INPUTS])
        values.append(one)
    return values


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
    """Successful predictions of a model, newest first: the rows of a drift check."""
    query = select(predictions).where(predictions.c.model == model, predictions.c.status == 200)
    if since is not None:
        query = query.where(predictions.c.at >= since)
    if until is not None:
        query = query.where(predictions.c.at < until)
    with warehouse.connect() as connection:
        rows = connection.execute(query.order_by(predictions.c.at.desc()).limit(limit)).mappings()
        return [read_row(row) for row in rows]


def count_logged(warehouse: Warehouse) -> dict[str, dict[str, int]]:
    """Model → number of logged predictions, refused requests and labels."""
    good = case((predictions.c.status == 200, 1), else_=0)
    logged = select(predictions.c.model, func.count(), func.sum(good)).group_by(predictions.c.model)
    labels = select(feedback.c.model, func.count()).group_by(feedback.c.model)
    with warehouse.connect() as connection:
        found = {
            model: {"predictions": int(served), "refused": int(rows - served), "feedback": 0}
            for model, rows, served in connection.execute(logged)
        }
        for model, count in connection.execute(labels):
            found.setdefault(model, {"predictions": 0, "refused": 0})["feedback"] = int(count)
    return found


def prediction(warehouse: Warehouse, prediction_id: str) -> dict[str, Any] | None:
    """One row of the log; None where there is none."""
    with warehouse.connect() as connection:
        row = connection.execute(select(predictions).where(predictions.c.id == prediction_id)).mappings().first()
    return read_row(row) if row else None


def add_feedback(warehouse: Warehouse, row: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Store a label. Returns the stored row, and `new`, `same` (reported before) or `other` (it differs; unchanged)."""
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
        return read_row(found), "same" if found["label"] == row.get("label") else "other"


def labelled_predictions(
    warehouse: Warehouse, model: str, *, since: datetime | None = None, limit: int = 50_000
) -> list[dict[str, Any]]:
    """Predictions with the label that came back (`label`, `outcome`), newest label first."""
    is_labelled = and_(predictions.c.id == feedback.c.prediction_id, predictions.c.at == feedback.c.predicted_at)
    # PostgreSQL would join with the whole log, wrong about how few labels there are; this is one look for each label,
    # into the index of its month.
    logged = predictions if warehouse.is_sqlite else select(predictions).where(is_labelled).limit(1).lateral("logged")
    query = (
        select(*logged.c, feedback.c.label, LABEL_OUTCOME.label("outcome"), feedback.c.at.label("labelled_at"))
        .select_from(feedback)
        .join(logged, is_labelled if warehouse.is_sqlite else true())
        .where(feedback.c.model == model)
    )
    if since is not None:
        query = query.where(feedback.c.at >= since)
    with warehouse.connect() as connection:
        rows = connection.execute(query.order_by(feedback.c.at.desc()).limit(limit)).mappings()
        return [read_row(row) for row in rows]


def create_months(warehouse: Warehouse) -> int:
    """Create missing partitions of this month and of the next ones on PostgreSQL. Returns their number."""
    if warehouse.is_sqlite:
        return 0
    with warehouse.begin() as connection:
        return int(connection.execute(select(func.create_prediction_months(MONTHS_AHEAD))).scalar_one())


def delete_older_than(warehouse: Warehouse, age: timedelta) -> int:
    """Retention: delete predictions and labels past an age, in short transactions. Returns the number of rows.

    On PostgreSQL, predictions are deleted by month (UTC), when all of it is past the age: its partition is dropped.
    """
    before = utc_now() - age
    deleted, month = 0, before
    if not warehouse.is_sqlite:
        month = before.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        with warehouse.begin() as connection:
            deleted = int(connection.execute(select(func.drop_predictions_before(month))).scalar_one())
    tables = (
        (predictions, predictions.c.id, month),
        (rollout_calls, rollout_calls.c.id, before),
        (feedback, feedback.c.prediction_id, before),
    )
    return deleted + sum(
        _delete_before(warehouse, records, key, model, until)
        for records, key, until in tables
        for model in _logged_models(warehouse, records)
    )


def _delete_before(warehouse: Warehouse, records: Table, key: Column[str], model: str, until: datetime) -> int:
    deleted, done = 0, DELETE_CHUNK
    while done == DELETE_CHUNK:
        with warehouse.begin() as connection:
            old = select(key).where(records.c.model == model, records.c.at < until).limit(DELETE_CHUNK)
            # The time once more: without it PostgreSQL looks into every month.
            done = connection.execute(
                delete(records).where(key.in_(old.scalar_subquery()), records.c.at < until)
            ).rowcount
        deleted += done
    return deleted


def _logged_models(warehouse: Warehouse, records: Table) -> list[str]:
    """Models that a table has rows of: one look into its index for each, however many rows there are."""
    first = select(func.min(records.c.model).label("model")).cte(recursive=True)
    following = select(func.min(records.c.model)).where(records.c.model > first.c.model).scalar_subquery()
    names = first.union_all(select(following).where(first.c.model.is_not(None)))
    with warehouse.connect() as connection:
        return list(connection.scalars(select(names.c.model).where(names.c.model.is_not(None))))


def erase_user(warehouse: Warehouse, user_name: str) -> dict[str, int]:
    """Erasure: delete an account's predictions, and its name from labels. Returns the deleted rows by table."""
    with warehouse.begin() as connection:
        owned = select(predictions.c.id).where(predictions.c.user_name == user_name).scalar_subquery()
        connection.execute(delete(rollout_calls).where(rollout_calls.c.id.in_(owned)))
        labels = connection.execute(delete(feedback).where(feedback.c.prediction_id.in_(owned))).rowcount
        rows = connection.execute(delete(predictions).where(predictions.c.user_name == user_name)).rowcount
        connection.execute(update(feedback).where(feedback.c.user_name == user_name).values(user_name=None))
    return {"predictions": rows, "feedback": labels}
