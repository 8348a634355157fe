"""Predictions that champion and challenger computed on the same inputs: inserts, and the columns of the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, func, insert, select

from accident_reco.storage.prediction_log import LABEL_OUTCOME
from accident_reco.storage.tables.prediction_log import feedback
from accident_reco.storage.tables.rollout import rollout_calls
from accident_reco.storage.warehouse import Warehouse

Columns = Mapping[str, NDArray[Any]]
_RECENT = ("champion_score", "challenger_score", "agreement", "champion_ms", "challenger_ms", "problem")


def insert_calls(warehouse: Warehouse, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows in one transaction."""
    with warehouse.begin() as connection:
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
