"""Predictions that champion and challenger computed on the same inputs: inserts, and the columns of the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from sqlalchemy import Select, func, insert, select

from accident_reco.storage.prediction_log import LABEL_OUTCOME
from accident_reco.storage.tables.prediction_log import feedback
from accident_reco.storage.tables.rollout import rollout_calls
from accident_reco.storage.warehouse import Warehouse

Columns = Mapping[str, NDArray[Any]]
_NAMES = tuple(rollout_calls.columns.keys())
_AT = _NAMES.index("at")
_VALUES = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(_NAMES)))
_INSERT = f"INSERT INTO {rollout_calls.name} ({', '.join(_NAMES)}) SELECT {_VALUES} FROM json_each(?)"  # noqa: S608
_RECENT = ("champion_score", "challenger_score", "agreement", "champion_ms", "challenger_ms", "problem")


def insert_calls(warehouse: Warehouse, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows in one transaction."""
    if not rows:
        return
    with warehouse.begin() as connection:
        if warehouse.is_sqlite:
            # One statement, in which the driver holds the interpreter's lock once, not once per row.
            values = [[row.get(name) for name in _NAMES] for row in rows]
            for value, row in zip(values, rows, strict=True):
                value[_AT] = row["at"].astimezone(UTC).isoformat(" ", "microseconds")[:26]  # as SQLAlchemy writes it
            connection.exec_driver_sql(_INSERT, (orjson.dumps(values).decode(),))
        else:
            connection.execute(insert(rollout_calls), [dict(row) for row in rows])


def recent_calls(warehouse: Warehouse, model: str, challenger: str, since: datetime, limit: int = 20_000) -> Columns:
    """The newest comparisons since a time (UTC), newest first: scores, agreement, times and problems, each (n,)."""
    columns = rollout_calls.c
    query = select(*(columns[name] for name in _RECENT)).where(
        columns.model == model, columns.challenger == challenger, columns.at >= since
    )
    return _read(warehouse, query.order_by(columns.at.desc()).limit(limit), _RECENT)


def count_calls(warehouse: Warehouse, model: str, challenger: str, since: datetime) -> int:
    """Number of comparisons since a time (UTC)."""
    columns = rollout_calls.c
    query = select(func.count()).where(
        columns.model == model, columns.challenger == challenger, columns.at >= since, columns.problem.is_(None)
    )
    with warehouse.connect() as connection:
        return int(connection.execute(query).scalar_one())


def labelled_calls(warehouse: Warehouse, model: str, challenger: str, limit: int) -> Columns:
    """Compared predictions with a reported label, oldest label first: group (text), both scores, outcome; each (n,)."""
    columns = rollout_calls.c
    query = (
        select(
            func.coalesce(columns.group_key, columns.id).label("group"),
            columns.champion_score,
            columns.challenger_score,
            LABEL_OUTCOME.label("outcome"),
        )
        .join(feedback, feedback.c.prediction_id == columns.id)
        .where(
            columns.model == model,
            columns.challenger == challenger,
            columns.problem.is_(None),
            columns.champion_score.is_not(None),
            columns.challenger_score.is_not(None),
            LABEL_OUTCOME.is_not(None),
        )
        .order_by(feedback.c.at, columns.id)
        .limit(limit)
    )
    return _read(warehouse, query, ("group", "champion_score", "challenger_score", "outcome"))


def _read(warehouse: Warehouse, query: Select[Any], names: Sequence[str]) -> Columns:
    """The rows of a query as columns: numbers with NaN for NULL, texts as objects."""
    with warehouse.connect() as connection:
        rows = connection.execute(query).all()
    found: dict[str, NDArray[Any]] = {}
    for place, name in enumerate(names):
        values = [row[place] for row in rows]
        if name in ("group", "problem"):
            found[name] = np.array(values, dtype=object)
        else:
            found[name] = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return found
