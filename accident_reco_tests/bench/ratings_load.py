"""Ratings from CSV to Parquet parts with quarantine, and from the parts into SQLite and PostgreSQL, beside bare loads.

Run: python -m accident_reco_tests.bench.ratings_load HOME [--ratings N] [--only STAGE…] [--postgres URL]

33 million rows as in the largest published set: `--ratings 33000000`. Each stage is a process of its own, so that its
peak memory is its own. HOME is kept, and is on the disk that is measured; `--postgres` names an empty database that may
be written. A bare load writes the same rows into a table of the same columns and key with the fewest steps: COPY of a
CSV file, or `executemany` from columns that are in memory, in one transaction.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from accident_reco.models.movies.data import imports, ingest, rating_table
from accident_reco.models.movies.data.catalogues import read_movies
from accident_reco.models.movies.data.ingest import SourceFile
from accident_reco.models.movies.data.published_ids import PublishedIds
from accident_reco.models.movies.data.rating_columns import read_ratings
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


class Bench:
    """Files and databases below one folder."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.home, self.rows, self.postgres = arguments.home.resolve(), arguments.ratings, arguments.postgres
        self.csv, self.bare_csv = self.home / "ratings.csv", self.home / "bare.csv"
        self.store = open_store(f"file://{self.home}/store")
        self.digest = hashlib.sha256(str(self.rows).encode()).hexdigest()
        self.titles = "movieId,title,genres\n" + "".join(f"{movie},M{movie},Drama\n" for movie in range(1, MOVIES + 1))

    def generate(self) -> str:
        """A file that is sorted by user and movie, as the published ones are, with one bad row in 10,000."""
        import pyarrow as pa
        import pyarrow.csv as pa_csv

        random, user = np.random.default_rng(0), 1
        self.home.mkdir(parents=True, exist_ok=True)
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

    def sqlite(self) -> str:
        """From the parts into the warehouse, and bare."""
        bare = self.load_bare_sqlite()
        return self._compare(self._start("warehouse.db"), bare)

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

    def postgresql(self) -> str:
        """From the parts into the warehouse, and bare: a COPY of a CSV file that is there already."""
        opened = self._start(self.postgres)
        return self._compare(opened, self.load_bare_postgres(opened[0]))

    def load_bare_postgres(self, warehouse: Warehouse) -> float:
        """Seconds of a bare load into a database without ratings."""
        with warehouse.begin() as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS bare")
            connection.exec_driver_sql("TRUNCATE ratings")
        started = time.perf_counter()
        with warehouse.begin() as connection, self.bare_csv.open("rb") as file:
            connection.exec_driver_sql(DDL.format(float="FLOAT", rest=""))
            cursor = connection.connection.cursor()
            cursor.copy_expert("COPY bare FROM STDIN WITH (FORMAT csv)", file)
        return time.perf_counter() - started

    def split(self) -> str:
        """What a training reads of the SQLite warehouse and the parts."""
        found = read_ratings(self.store, Warehouse(f"sqlite:///{self.home}/warehouse.db"))
        return f"{len(found.ratings):,} rows of {found.stored:,}"

    def _compare(self, opened: tuple[Warehouse, int], bare: float) -> str:
        seconds, last = self.load(*opened)
        rows = f"{self._manifest().rows:,} rows"
        return f"{rows}: {seconds:.1f} s (last transaction {last:.1f}), bare {bare:.1f} s: {seconds / bare:.2f} times"

    def load_sqlite(self) -> float:
        """Seconds of a load into a new warehouse."""
        warehouse, load_id = self._start("warehouse.db")
        seconds, _ = self.load(warehouse, load_id)
        warehouse.close()
        return seconds

    def load_postgres(self) -> float:
        """Seconds of a load into the PostgreSQL warehouse, without the ratings of an earlier one."""
        warehouse, load_id = self._start(self.postgres)
        with warehouse.begin() as connection:
            connection.exec_driver_sql("TRUNCATE ratings")
        seconds, _ = self.load(warehouse, load_id)
        warehouse.close()
        return seconds

    def load(self, warehouse: Warehouse, load_id: int) -> tuple[float, float]:
        """Seconds of a load from the parts, and of its last transaction."""
        manifest = self._manifest()
        catalogue = read_movies(self.titles.encode(), "movies.csv").to_frame()
        started = time.perf_counter()
        rating_table.prepare(warehouse, load_id, iterate_parts(self.store, manifest))
        completing = time.perf_counter()
        parts = iterate_parts(self.store, manifest)
        imports.finish_load(warehouse, load_id, catalogue, parts, rows=manifest.rows, quarantined=0)
        ended = time.perf_counter()
        return ended - started, ended - completing

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
            raise SystemExit("run the stages generate and parts with the same --ratings first")
        return manifest


STAGES: dict[str, Callable[[Bench], str]] = {
    name: getattr(Bench, name) for name in ("generate", "parts", "read", "sqlite", "split", "postgresql")
}


def main() -> None:
    """Run the stages one after the other, or the one that this process was started for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--ratings", type=int, default=3_000_000)
    parser.add_argument("--postgres", default="")
    parser.add_argument("--only", nargs="*", choices=STAGES, default=list(STAGES))
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        started = time.perf_counter()
        summary = STAGES[arguments.stage](Bench(arguments))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(f"{arguments.stage:10} {time.perf_counter() - started:6.0f} s   peak {peak:6,.0f} MB   {summary}")
        return
    for stage in arguments.only:
        if stage != "postgresql" or arguments.postgres:
            subprocess.run([sys.executable, *sys.orig_argv[1:], "--stage", stage], env=os.environ, check=True)


if __name__ == "__main__":
    main()
