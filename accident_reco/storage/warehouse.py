"""The warehouse: connections, transactions, migrations, bulk writes. No table is named here."""

from __future__ import annotations

import io
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, URL, Column, Connection, Engine, Integer, Table, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    CompileError,
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
    StatementError,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

BUSY_TIMEOUT_S = 30
_FILE = "accident_reco_file"  # the file of a connection, in its record
CHUNK_ROWS = 20_000
# Errors are logged: they contain statements, not values, since those include hashes of passwords and tokens.
QUIET = {"hide_parameters": True}
MIGRATION_LOCK = 0x6163_7265  # an arbitrary number, the same in every release
# PostgreSQL's error classes that concern the values: data exception, constraint violation, program limit exceeded.
_CONTENT_CLASSES = frozenset({"22", "23", "54"})


class NewerSchema(RuntimeError):
    """A newer release has migrated the warehouse; nothing was changed."""


class Warehouse:
    """One SQL database, connected to at first use.

    Args:
        url: SQLAlchemy URL, `sqlite:///…` or `postgresql+psycopg2://…`.
        must_exist: whether a missing embedded database is an error, except for `upgrade`: for processes of a running
            platform, of which one that starts after its file was removed would hide that from the others.
    """

    def __init__(self, url: str, *, must_exist: bool = False) -> None:
        self.url = make_url(url)
        self._must_exist = must_exist
        self._engine: Engine | None = None
        self._was_opened = False

    def __repr__(self) -> str:
        return f"Warehouse({self.url.render_as_string(hide_password=True)!r})"

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def engine(self) -> Engine:
        """The connection pool, created at first use."""
        if self._engine is None:
            if self.is_sqlite:
                self._engine = create_engine(self.url, connect_args={"timeout": BUSY_TIMEOUT_S}, **QUIET)
                event.listen(self._engine, "connect", _sqlite_pragmas)
                event.listen(self._engine, "begin", _sqlite_begin)
                if self.url.database:
                    event.listen(self._engine, "do_connect", self._check_before_connect)
                    event.listen(self._engine, "checkout", self._check_connection)
            else:
                # An unreachable database is reported within seconds; connections that died while idle are replaced.
                self._engine = create_engine(self.url, pool_pre_ping=True, connect_args={"connect_timeout": 5}, **QUIET)
        return self._engine

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A write transaction: commits at the end, rolls back on an error."""
        with self.engine.connect().execution_options(write=True) as connection:
            opened = dict(connection.connection.info)
            with connection.begin():
                yield connection
            if _FILE in opened and opened[_FILE] != self._identify_file():
                # Committed to a file that nobody will read again.
                raise OperationalError("COMMIT", None, _lost_file(self.url))

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection for reading."""
        with self.engine.connect().execution_options(postgresql_readonly=True) as connection:
            yield connection

    def create_file(self) -> None:
        """Create the embedded database, empty and of mode 0600, where there is none. Its log gets the same mode."""
        if self.is_sqlite and self.url.database:
            path = Path(self.url.database)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))

    def upgrade(self, extra: Sequence[Table] = ()) -> None:
        """Bring the schema to the newest revision; concurrent processes wait for each other.

        Args:
            extra: tables of installed models; those that no revision creates are created here.

        Raises:
            NewerSchema: this release does not know the revision of the schema.
        """
        from alembic import command
        from alembic.script.revision import ResolutionError
        from alembic.util import CommandError

        from accident_reco.storage.migrations import alembic_config

        self.create_file()
        with self.begin() as connection, ExitStack() as opened:
            migrated = connection
            if not self.is_sqlite:
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
                # A transaction per revision, on a connection of its own: some do their slow part without locks.
                migrated = opened.enter_context(self.engine.connect())
            try:
                command.upgrade(alembic_config(migrated), "head")
            except CommandError as error:
                if not isinstance(error.__cause__, ResolutionError):
                    raise
                fix = "fix: start that release, or restore a backup of this one"
                raise NewerSchema(f"a newer release has migrated the warehouse ({error}); {fix}") from None
            for table in extra:
                table.create(connection, checkfirst=True)

    def append(self, connection: Connection, table: Table, rows: pd.DataFrame | Mapping[str, np.ndarray]) -> int:
        """Insert columns in bulk; unknown columns are an error. Returns the number of rows.

        NaN, NaT and None become NULL. On PostgreSQL rows are inserted by COPY, without column defaults of Python.
        """
        if not self.is_sqlite:
            return _copy(connection, table, rows)
        columns = {str(name): _plain(rows[str(name)]) for name in rows}
        n = len(next(iter(columns.values()))) if columns else 0
        names = list(columns)
        for start in range(0, n, CHUNK_ROWS):
            chunk = zip(*(columns[name][start : start + CHUNK_ROWS] for name in names), strict=True)
            connection.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in chunk])
        return n

    def replace(self, table: Table, rows: pd.DataFrame | Mapping[str, np.ndarray], where: Any) -> int:
        """Delete what `where` selects and insert `rows`, in one transaction. Returns the number of rows."""
        with self.begin() as connection:
            connection.execute(table.delete().where(where))
            return self.append(connection, table, rows)

    @property
    def problem(self) -> str | None:
        """Why nothing can be read or written, as far as it shows without a query: the embedded file is gone."""
        if self._was_opened and self._identify_file() is None:
            return f"the warehouse's file {self.url.database} was removed; restore it"
        return None

    def _identify_file(self) -> tuple[int, int] | None:
        """Device and inode of the embedded database's file; None where there is none."""
        try:
            found = os.stat(str(self.url.database))
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _check_before_connect(self, *_: Any) -> None:
        """SQLite would create an empty file in place of a removed one, and what was stored would seem never to be."""
        if self.problem is not None:
            raise _lost_file(self.url)
        if self._must_exist and self._identify_file() is None:
            raise _no_file(self.url)
        Path(str(self.url.database)).parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _check_connection(self, connection: Any, record: Any, _proxy: Any) -> None:
        """Replace connections to a file that was removed or replaced: what they write is lost."""
        current = self._identify_file()
        if record.info.setdefault(_FILE, current) != current:
            raise DisconnectionError(str(_lost_file(self.url)))
        self._was_opened = True

    def close(self) -> None:
        """Close every connection."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None


def _lost_file(url: URL) -> sqlite3.OperationalError:
    return sqlite3.OperationalError(f"the warehouse's file {url.database} was removed or replaced")


def _no_file(url: URL) -> sqlite3.OperationalError:
    return sqlite3.OperationalError(f"the warehouse's file {url.database} does not exist; fix: accident-reco prepare")


def is_content_error(error: Exception) -> bool:
    """Whether a write failed for the values it carried, so that the same rows fail again and others do not.

    False for a database that is away, full, locked, not migrated or closed to this role: waiting may help there.
    """
    if not isinstance(error, DBAPIError):
        # Raised before the database had a word: values that cannot be encoded, numbers out of range.
        return isinstance(error, StatementError) or not isinstance(error, SQLAlchemyError | OSError)
    state = getattr(error.orig, "pgcode", None)
    if state:
        return state[:2] in _CONTENT_CLASSES
    return isinstance(error, DataError | IntegrityError | NotSupportedError | ProgrammingError)


def _copy(connection: Connection, table: Table, rows: pd.DataFrame | Mapping[str, np.ndarray]) -> int:
    """COPY … FROM STDIN in chunks. Quoted fields are values, even empty ones; unquoted empty fields are NULL."""
    import pyarrow as pa
    import pyarrow.csv

    names = [str(name) for name in rows]
    unknown = [name for name in names if name not in table.c]
    if unknown:
        raise CompileError(f"Unconsumed column names: {', '.join(unknown)}")  # the message of an INSERT
    data = pa.table({name: _arrow(rows[name], table.c[name]) for name in names})
    quote = connection.dialect.identifier_preparer
    columns = ", ".join(quote.quote(name) for name in names)
    sql = f"COPY {quote.format_table(table)} ({columns}) FROM STDIN WITH (FORMAT csv)"
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="all_valid")
    with closing(connection.connection.cursor()) as cursor:
        for start in range(0, data.num_rows, CHUNK_ROWS):
            buffer = io.BytesIO()
            pyarrow.csv.write_csv(data.slice(start, CHUNK_ROWS), buffer, options)
            buffer.seek(0)
            cursor.copy_expert(sql, buffer)
    return data.num_rows


def _arrow(values: Any, column: Column[Any]) -> pa.Array:
    import pandas as pd
    import pyarrow as pa

    series = pd.Series(values)
    if isinstance(column.type, JSON):
        return pa.array([json.dumps(value) for value in series], pa.string())
    if isinstance(column.type, Integer) and series.dtype.kind == "f":
        series = series.astype("Int64")  # floats because of NaN; PostgreSQL rejects "3.0"
    return pa.Array.from_pandas(series)


def _plain(values: Any) -> list[Any]:
    """A column as Python scalars, missing values as None."""
    import pandas as pd

    series = pd.Series(values)
    return series.astype(object).where(series.notna(), None).tolist()


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is in `_sqlite_begin`: pysqlite's own does not lock for writing
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    # Without it INSERT OR REPLACE deletes rows without the trigger that protects the audit log.
    cursor.execute("PRAGMA recursive_triggers=ON")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    # A writer takes the lock here, and waits for it: upgrading a read lock later fails without waiting.
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
