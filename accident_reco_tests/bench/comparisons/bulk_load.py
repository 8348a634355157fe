"""Ratings from CSV into the warehouse, validated and with quarantine, against a bare bulk load of the same file.

Bare is `COPY … FROM STDIN` in PostgreSQL, and csv with `executemany` in SQLite: a table without keys or indexes, one
transaction, no validation.
"""

from __future__ import annotations

import csv
import io
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from accident_reco.models.movies.data.ingest import SourceFile, import_files
from accident_reco.models.movies.data.sample import SampleSpec, generate_movies_csv, generate_ratings_csv
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.bench.comparison import Goal, Options, Row, take_turns
from accident_reco_tests.bench.comparisons.accident_service import warehouses
from accident_reco_tests.bench.comparisons.profiles import profile_call

RATINGS, MOVIES = 1_000_000, 10_000
COLUMNS = "user_id integer, movie_id integer, rating real, rated_at bigint"
GOALS = {"SQLite": Goal(2, "most"), "PostgreSQL": Goal(1.5, "most")}


class Files:
    """Sample files in the published format."""

    def __init__(self, scale: float) -> None:
        spec = SampleSpec(ratings=max(6_000, int(RATINGS * scale)), movies=max(500, int(MOVIES * scale)), seed=5)
        self.movies, self.ratings = generate_movies_csv(spec), b"".join(generate_ratings_csv(spec))
        self.rows = self.ratings.count(b"\n") - 1
        self.turns = 0

    def load_ours(self, warehouse: Warehouse) -> float:
        """Rows per second of an import; its name makes it a new one."""
        self.turns += 1
        started = time.perf_counter()
        import_files(
            warehouse,
            SourceFile("ratings.csv", f"ratings{self.turns}", lambda: io.BytesIO(self.ratings)),
            SourceFile("movies.csv", "movies", lambda: io.BytesIO(self.movies)),
            "sample",
            int(time.time()),
        )
        return self.rows / (time.perf_counter() - started)

    def load_into_sqlite(self, path: Path) -> float:
        """Rows per second of a bare load."""
        path.unlink(missing_ok=True)
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"CREATE TABLE bare_ratings ({COLUMNS})")
            started = time.perf_counter()
            lines = csv.reader(io.TextIOWrapper(io.BytesIO(self.ratings)))
            next(lines)
            connection.executemany("INSERT INTO bare_ratings VALUES (?, ?, ?, ?)", lines)
            connection.commit()
        rate = self.rows / (time.perf_counter() - started)
        connection.close()
        return rate

    def load_into_postgres(self, url: str) -> float:
        """Rows per second of a bare COPY."""
        import psycopg2

        connection = psycopg2.connect(url.replace("+psycopg2", ""))
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(f"DROP TABLE IF EXISTS bare_ratings; CREATE TABLE bare_ratings ({COLUMNS})")
                started = time.perf_counter()
                cursor.copy_expert("COPY bare_ratings FROM STDIN WITH (FORMAT csv, HEADER)", io.BytesIO(self.ratings))
            return self.rows / (time.perf_counter() - started)
        finally:
            connection.close()


def compare(options: Options) -> list[Row]:
    """Rows per second by warehouse."""
    files, rows = Files(options.scale), []
    with warehouses(options) as stores:
        for store, settings in stores.items():
            url = settings.get("database_url")
            warehouse = open_warehouse(options.folder, url)
            bare: Callable[[], float] = (
                partial(files.load_into_postgres, url)
                if url
                else partial(files.load_into_sqlite, options.folder / "bare.db")
            )
            rates = take_turns(
                {"ours": partial(files.load_ours, warehouse), "bare": bare},
                options.rounds,
                lambda line, store=store: options.report(f"{store}, {line}"),
            )
            warehouse.close()
            what = f"{files.rows:,} ratings from CSV into {store}, with quarantine"
            peer = "bare COPY" if url else "bare executemany of sqlite3"
            ours, theirs = ([1e6 / rate for rate in rates[side]] for side in ("ours", "bare"))
            rows.append(Row(what, "s a million", ours, peer, theirs, "cost", GOALS[store]))
    return rows


def profile(options: Options) -> str:
    """Functions of an import into SQLite that take its time."""
    files = Files(options.scale)
    warehouse = open_warehouse(options.folder, None)
    try:
        return profile_call(lambda: files.load_ours(warehouse))
    finally:
        warehouse.close()


def open_warehouse(folder: Path, url: str | None) -> Warehouse:
    """A migrated warehouse: an empty SQLite file, or a PostgreSQL."""
    path = folder / f"load{time.monotonic_ns()}.db"
    warehouse = Warehouse(url or f"sqlite:///{path}")
    warehouse.upgrade()
    return warehouse
