"""Bulk insert at the database's own speed: prepared tuples on SQLite, COPY on PostgreSQL."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table

CHUNK_ROWS = 50_000


def bulk_insert(connection: Connection, table: Table, columns: Mapping[str, Sequence[Any]]) -> int:
    """Inserts columns of plain Python values (None is NULL) within the connection's transaction; gives the row count.

    Raises KeyError for a column that the table does not have.
    """
    names = list(columns)
    for name in names:
        if name not in table.c:
            raise KeyError(f"{table.name} has no column {name}")
    rows = list(zip(*columns.values(), strict=True))
    quote = connection.dialect.identifier_preparer.quote
    listed = ", ".join(quote(name) for name in names)
    target = f"{quote(table.name)} ({listed})"
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = rows[start : start + CHUNK_ROWS]
        if connection.dialect.name == "postgresql":
            _copy(connection, target, chunk)
        else:
            marks = ", ".join("?" for _ in names)
            connection.exec_driver_sql(f"INSERT INTO {target} VALUES ({marks})", chunk)  # noqa: S608 - our own names
    return len(rows)


def _copy(connection: Connection, target: str, rows: Sequence[tuple[Any, ...]]) -> None:
    # NULL is written as \\N, so that an empty string stays one.
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerows(["\\N" if cell is None else cell for cell in row] for row in rows)
    buffer.seek(0)
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor:
        cursor.copy_expert(f"COPY {target} FROM STDIN WITH (FORMAT csv, NULL '\\N')", buffer)
