"""Generated rating files, and their loads into Parquet parts, SQLite and PostgreSQL beside bare bulk loads.

A bare load writes the same rows into a table of the same columns and key with the fewest steps, in one transaction:
`COPY … FROM STDIN` of a CSV file in PostgreSQL, `executemany` from columns that are in memory in SQLite.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from pathlib import Path

import numpy as np

from accident_reco.models.movies.data import imports, ingest, rating_table
from accident_reco.models.movies.data.catalogues import read_movies
from accident_reco.models.movies.data.ingest import SourceFile
from accident_reco.models.movies.data.published_ids import PublishedIds
from accident_reco.models.movies.data.rating_parts import PartsManifest, iterate_parts, read_manifest
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse

MOVIES = 84_000
BLOCK = 1_000_000
NOW = 1_800_000_000
DDL = (
    "CREATE TABLE bare (user_id INTEGER, movie_id INTEGER, rating {float}, rated_at BIGINT, simulated BOOLEAN, "
    "load_id INTEGER, PRIMARY KEY (user_id, movie_id)){rest}"
)


class RatingLoads:
    """Files and databases below one folder.

    Args:
        home: folder, which is on the disk that is measured.
        rows: ratings of the generated file.
        postgres: URL of a database that may be written; empty: nothing is loaded into PostgreSQL.
    """

    def __init__(self, home: Path, rows: int, postgres: str = "") -> None:
        self.home, self.rows, self.postgres = home.resolve(), rows, postgres
        self.csv, self.bare_csv = self.home / "ratings.csv", self.home / "bare.csv"
        self.store = open_store(f"file://{self.home}/store")
        self.digest = hashlib.sha256(str(rows).encode()).hexdigest()
        self.titles = "movieId,title,genres\n" + "".join(f"{movie},M{movie},Drama\n" for movie in range(1, MOVIES + 1))

    def generate(self) -> str:
        """A file that is sorted by user and movie, as the published ones are, with one bad row in 10,000."""
        import pyarrow as pa
        import pyarrow.csv as pa_csv

        random, user = np.random.default_rng(0), 1
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "movies.csv").write_text(self.titles)
        with self.csv.open("wb") as file, self.bare_csv.open("wb") as bare:
            file.write(b"userId,movieId,rating,timestamp\n")
            for start in range(0, self.rows, BLOCK):
                count = min(BLOCK, self.rows - start)
                users = np.sort(random.integers(user, user + max(count // 130, 1), count))
                user = int(users[-1]) + 1
                movies = (MOVIES * random.random(count) ** 3).astype(np.int64) + 1
                pairs = np.unique(users.astype(np.int64) << 32 | movies)
                users, movies = pairs >> 32, pairs & 0xFFFF_FFFF
                stars = random.integers(1, 11, len(pairs)) / 2
                times = random.integers(1_000_000_000, 1_700_000_000, len(pairs))
                columns = {"user": users, "movie": movies, "rating": stars, "at": times}
                plain = pa_csv.WriteOptions(include_header=False)
                loaded = {**columns, "simulated": np.zeros(len(pairs), dtype=bool), "load": np.ones(len(pairs), int)}
                pa_csv.write_csv(pa.table(loaded), bare, plain)
                columns["rating"] = np.where(random.random(len(pairs)) < 1e-4, 7.5, stars)
                pa_csv.write_csv(pa.table(columns), file, plain)
        return f"{self.csv.stat().st_size / 2**20:,.0f} MB"

    def parts(self) -> str:
        """CSV to Parquet, with quarantine."""
        warehouse, load_id = self._start("quarantine.db")
        file = SourceFile("ratings.csv", self.digest, lambda: self.csv.open("rb"))
        catalogue = read_movies(self.titles.encode(), "movies.csv")
        started = time.perf_counter(), time.process_time()
        done = ingest.write_parts(warehouse, self.store, load_id, file, catalogue, PublishedIds(), PublishedIds(), NOW)
        seconds, busy = time.perf_counter() - started[0], time.process_time() - started[1]
        rows = done.manifest.rows + done.quarantined
        size = sum(part.size for part in done.manifest.parts) / 2**20
        return (
            f"{rows:,} rows, {done.quarantined:,} in quarantine, {len(done.manifest.parts)} parts of {size:,.0f} MB: "
            f"{rows / seconds / 1e6:.2f} million rows/s, {rows / busy / 1e6:.2f} a second of processor time"
        )

    def read(self) -> str:
        """All parts into memory, as a training reads them."""
        count = sum(len(part) for part in iterate_parts(self.store, self._manifest()))
        return f"{count:,} rows"

    def compare_sqlite(self) -> str:
        """A bare load into SQLite, then ours."""
        return self._compare(self.load_bare_sqlite(), self.load_sqlite())

    def compare_postgres(self) -> str:
        """A bare load into PostgreSQL, a COPY of a CSV file that is there already; then ours."""
        return self._compare(self.load_bare_postgres(), self.load_postgres())

    def load_bare_sqlite(self) -> float:
        """Seconds of a bare load."""
        columns = [Ratings.concatenate(list(iterate_parts(self.store, self._manifest())))]
        path = self.home / "bare.db"
        for stale in self.home.glob("bare.db*"):
            stale.unlink()
        started = time.perf_counter()
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(DDL.format(float="FLOAT", rest=" WITHOUT ROWID"))
        for start in range(0, len(columns[0]), BLOCK):
            block = columns[0].take(slice(start, start + BLOCK))
            rows = zip(*(values.tolist() for values in vars(block).values()), strict=True)
            connection.executemany("INSERT INTO bare VALUES (?, ?, ?, ?, 0, 1)", rows)
        connection.commit()
        connection.close()
        return time.perf_counter() - started

    def load_bare_postgres(self) -> float:
        """Seconds of a bare load into a database without ratings."""
        warehouse, _ = self._start(self.postgres)
        with warehouse.begin() as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS bare")
            connection.exec_driver_sql("TRUNCATE ratings")
        started = time.perf_counter()
        with warehouse.begin() as connection, self.bare_csv.open("rb") as file:
            connection.exec_driver_sql(DDL.format(float="FLOAT", rest=""))
            cursor = connection.connection.cursor()
            cursor.copy_expert("COPY bare FROM STDIN WITH (FORMAT csv)", file)
        seconds = time.perf_counter() - started
        warehouse.close()
        return seconds

    def _compare(self, bare: float, ours: float) -> str:
        rows = f"{self._manifest().rows:,} rows"
        return f"{rows}: {ours:.1f} s, bare {bare:.1f} s: {ours / bare:.2f} times"

    def load_sqlite(self) -> float:
        """Seconds of a load into a new warehouse."""
        warehouse, load_id = self._start("warehouse.db")
        seconds = self._load(warehouse, load_id)
        warehouse.close()
        return seconds

    def load_postgres(self) -> float:
        """Seconds of a load into the PostgreSQL warehouse, without the ratings of an earlier one."""
        warehouse, load_id = self._start(self.postgres)
        with warehouse.begin() as connection:
            connection.exec_driver_sql("TRUNCATE ratings")
        seconds = self._load(warehouse, load_id)
        warehouse.close()
        return seconds

    def _load(self, warehouse: Warehouse, load_id: int) -> float:
        """Seconds of a load from the parts."""
        manifest = self._manifest()
        catalogue = read_movies(self.titles.encode(), "movies.csv").to_frame()
        started = time.perf_counter()
        rating_table.prepare(warehouse, load_id, iterate_parts(self.store, manifest))
        parts = iterate_parts(self.store, manifest)
        imports.finish_load(warehouse, load_id, catalogue, parts, rows=manifest.rows, quarantined=0)
        return time.perf_counter() - started

    def _start(self, name: str) -> tuple[Warehouse, int]:
        url = name
        if not name.startswith("postgresql"):
            for stale in self.home.glob(f"{name}*"):
                stale.unlink()
            url = f"sqlite:///{self.home / name}"
        warehouse = Warehouse(url)
        warehouse.upgrade()
        return warehouse, imports.start_load(warehouse, self.digest, "m" * 64, "directory")

    def _manifest(self) -> PartsManifest:
        manifest = read_manifest(self.store, 1, self.digest)
        if manifest is None:
            raise SystemExit("generate the file and write its parts first, with the same number of ratings")
        return manifest
