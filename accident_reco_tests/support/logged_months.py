"""Fills the prediction log on PostgreSQL by the server's own row generator, and reads the plans of queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import event, text

from accident_reco.storage.warehouse import Warehouse

_PREDICTIONS = """
INSERT INTO predictions
    (id, request_id, at, model, version, user_name, source, status, score, answer, latency_ms, inputs)
SELECT :name || n, 'r' || n, CAST(:newest AS timestamptz) - make_interval(secs => n * :seconds),
       CASE WHEN n % 4 = 0 THEN 'movies' ELSE 'accidents' END, 'v', 'user' || n % 1000, 'json',
       CASE WHEN n % 50 = 0 THEN 422 ELSE 200 END, n % 100 / 100.0, '"grave"', 1.5,
       json_build_object('catu', 1 + n % 3, 'sexe', 1 + n % 2, 'an_nais', 1940 + n % 60, 'catv', 7, 'lum', 1 + n % 5)
FROM generate_series(1, :rows) n
"""
_LABELS = """
INSERT INTO feedback (prediction_id, model, label, outcome, predicted_at, at)
SELECT id, model, '{"severity": 2}', 1.0, at, at + interval '1 hour' FROM predictions
WHERE status = 200 AND right(id, 1) = '1' ON CONFLICT DO NOTHING
"""


def create_past_months(warehouse: Warehouse, now: datetime, months: int) -> None:
    """Partitions of earlier months, as a log that has been written for so long has them."""
    with warehouse.begin() as connection:
        ends = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        for _ in range(months):
            begins = (ends - timedelta(days=1)).replace(day=1)
            part = f"prediction_log.predictions_{begins:%Y_%m} PARTITION OF predictions (PRIMARY KEY (id))"
            connection.execute(
                text(f"CREATE TABLE {part} FOR VALUES FROM ('{begins}') TO ('{ends}')".replace(":", "\\:"))
            )
            ends = begins


def log_rows(warehouse: Warehouse, rows: int, newest: datetime, *, days: float, name: str = "p") -> None:
    """Log predictions of both models, evenly over the days before a time: a tenth with labels, a fiftieth failed."""
    with warehouse.begin() as connection:
        connection.execute(
            text(_PREDICTIONS), {"rows": rows, "newest": newest, "seconds": days * 86_400 / rows, "name": name}
        )
        connection.execute(text(_LABELS))
    with warehouse.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE predictions, feedback"))


@contextmanager
def executed(warehouse: Warehouse) -> Iterator[list[tuple[str, Any]]]:
    """Statements and parameters as the driver gets them."""
    found: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        found.append((statement, parameters))

    event.listen(warehouse.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(warehouse.engine, "before_cursor_execute", note)


def explain(warehouse: Warehouse, read: Callable[[Warehouse], object]) -> tuple[int, set[str]]:
    """Pages of 8 KiB that the queries of a read touch, and the kinds of their plans' nodes that ran."""
    with executed(warehouse) as statements:
        read(warehouse)
    pages, kinds = 0, set()
    with warehouse.connect() as connection:
        for statement, parameters in statements:
            explained = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}"
            (document,) = connection.exec_driver_sql(explained, parameters).scalar_one()
            plan = document["Plan"]
            pages += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            kinds |= set(_kinds(plan))
    return pages, kinds


def _kinds(plan: dict[str, Any]) -> Iterator[str]:
    if plan["Actual Loops"]:
        yield plan["Node Type"]
    for child in plan.get("Plans", ()):
        yield from _kinds(child)
