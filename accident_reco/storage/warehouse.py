"""The warehouse: connections, transactions, migrations, bulk writes. Knows no table by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

BUSY_TIMEOUT_S = 30
CHUNK_ROWS = 20_000


class Warehouse:
    """One SQL database, reached lazily: making a Warehouse opens nothing.

    Args:
        url: SQLAlchemy URL, `sqlite:///…` or `postgresql+psycopg2://…`.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self._engine: Engine | None = None

    def __repr__(self) -> str:
        return f"Warehouse({self.url.render_as_string(hide_password=True)!r})"

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def engine(self) -> Engine:
        """The connection pool, made at first use."""
        if self._engine is None:
            if self.is_sqlite:
                if self.url.database:
                    Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
                self._engine = create_engine(self.url, connect_args={"timeout": BUSY_TIMEOUT_S})
                event.listen(self._engine, "connect", _sqlite_pragmas)
                event.listen(self._engine, "begin", _sqlite_begin)
            else:
                self._engine = create_engine(self.url, pool_pre_ping=True)
        return self._engine

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A write transaction: commits at the end, rolls back on an error."""
        with self.engine.connect().execution_options(write=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection for reading."""
        with self.engine.connect() as connection:
            yield connection

    def upgrade(self) -> None:
        """Bring the schema to the newest revision."""
        from alembic import command

        from accident_reco.storage.migrations import alembic_config

        with self.begin() as connection:
            command.upgrade(alembic_config(connection), "head")

    def append(self, connection: Connection, table: Table, rows: pd.DataFrame | Mapping[str, np.ndarray]) -> int:
        """Insert columns in bulk; columns that the table does not have are an error. Gives the row count.

        NaN, NaT and None become NULL.
        """
        columns = {str(name): _plain(rows[str(name)]) for name in rows}
        n = len(next(iter(columns.values()))) if columns else 0
        names = list(columns)
        for start in range(0, n, CHUNK_ROWS):
            chunk = zip(*(columns[name][start : start + CHUNK_ROWS] for name in names), strict=True)
            connection.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in chunk])
        return n

    def replace(self, table: Table, rows: pd.DataFrame | Mapping[str, np.ndarray], where: Any) -> int:
        """Delete what `where` selects and insert `rows`, in one transaction. Gives the row count."""
        with self.begin() as connection:
            connection.execute(table.delete().where(where))
            return self.append(connection, table, rows)

    def close(self) -> None:
        """Give every connection back."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None


def _plain(values: Any) -> list[Any]:
    """Column as Python scalars, unknown as None, converted a column at a time."""
    import pandas as pd

    series = pd.Series(values)
    return series.astype(object).where(series.notna(), None).tolist()


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves: pysqlite's own would not lock for writing
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    # A writer takes the lock at once: upgrading a read to a write later fails at once instead of waiting.
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
