"""Dumps of PostgreSQL and SQLite databases: one snapshot each, with the rows of every table in that snapshot."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, create_engine, func, inspect, make_url, select, table, text

from accident_reco.launch.processes import LaunchError
from accident_reco.launch.programs import postgres_program
from accident_reco.storage.ownership import TABLE

SQLITE_HEADER = b"SQLite format 3\x00"


def dump_postgres(url: str, target: Path) -> dict[str, int]:
    """Dump a database; returns the rows of each table.

    Without the installation's ownership mark: a restored database belongs to the one that starts on it.

    Raises:
        LaunchError: the database cannot be dumped.
        SQLAlchemyError: it cannot be reached.
    """
    engine = create_engine(url, isolation_level="REPEATABLE READ")
    try:
        with engine.connect() as connection:
            snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
            flags = ["--format=custom", "--no-owner", "--no-privileges", f"--exclude-table={TABLE}"]
            _run("pg_dump", url, [*flags, f"--snapshot={snapshot}", f"--file={target}"])
            return _count(connection)
    finally:
        engine.dispose()


def load_postgres(url: str, source: Path) -> None:
    """Load a dump into an empty database, in one transaction. Raises LaunchError."""
    flags = ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]
    _run("pg_restore", url, [*flags, str(source)])


def count_postgres(url: str) -> dict[str, int]:
    """Rows of each table, without the ownership mark; empty for an empty database."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return _count(connection)
    finally:
        engine.dispose()


def is_sqlite(path: Path) -> bool:
    """Whether a file is an SQLite database."""
    with path.open("rb") as file:
        return file.read(len(SQLITE_HEADER)) == SQLITE_HEADER


def dump_sqlite(source: Path, target: Path) -> dict[str, int]:
    """Copy a database consistently while others write; returns the rows of each table."""
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?mode=rw", uri=True, timeout=60)) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)
    return count_sqlite(target)


def count_sqlite(path: Path) -> dict[str, int]:
    """Rows of each table of a database that nobody writes.

    Raises:
        LaunchError: SQLite finds it damaged.
    """
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as connection:
        try:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise LaunchError(f"{path.name} is damaged: {found}")
            names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            tables = [name for (name,) in connection.execute(names)]
            return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables}  # noqa: S608
        except sqlite3.DatabaseError as error:
            raise LaunchError(f"{path.name} is damaged: {error}") from None


def _count(connection: Connection) -> dict[str, int]:
    names = [name for name in inspect(connection).get_table_names() if name != TABLE]
    return {name: connection.execute(select(func.count()).select_from(table(name))).scalar_one() for name in names}


def _run(program: str, url: str, flags: Sequence[str]) -> None:
    parts = make_url(url)
    where = [f"--host={parts.host}", f"--port={parts.port or 5432}", f"--username={parts.username}"]
    done = subprocess.run(
        [postgres_program(program), *where, f"--dbname={parts.database}", *flags],
        env=os.environ | {"PGPASSWORD": str(parts.password or "")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LaunchError(f"{program} of {parts.database} failed:\n{done.stderr.strip()}")
