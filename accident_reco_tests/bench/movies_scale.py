"""Time and memory of every step between a large rating file and the rows that train, each step a process of its own.

Run: python -m accident_reco_tests.bench.movies_scale HOME [--ratings N] [--movies N] [--only STAGE…]

HOME is kept: a stage that was left out finds there what the ones before it made. 17 million ratings of 84,000 movies
ask for a file of about 33 million rows, the size of the largest published set.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from accident_reco.models.movies.data import ingest, raw_store
from accident_reco.models.movies.data.sources import open_source
from accident_reco.models.movies.training import loading
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse


def raw(settings: Settings) -> str:
    """Generate sample files in the published format and store them."""
    store = open_store(settings.store)
    with closing(open_source(settings)) as source:
        ratings, _ = raw_store.fetch_raw(store, source, "raw_ratings")
        raw_store.fetch_raw(store, source, "raw_movies")
    return f"{ratings.size / 2**20:,.0f} MB of ratings"


def warehouse(settings: Settings) -> str:
    """From the store into SQL, with quarantine."""
    store, database = open_store(settings.store), Warehouse(settings.database)
    database.upgrade()
    ratings, movies = raw_store.open_raw_file(store, "raw_ratings")[0], raw_store.open_raw_file(store, "raw_movies")[0]
    done = ingest.import_files(database, store, ratings, movies, "sample", int(time.time()))
    return f"{done.rows:,} rows, {done.quarantined:,} refused"


def split(settings: Settings) -> str:
    """Read what a training takes, filter, divide, as one frame."""
    options = loading.build_options(settings)
    store, database = open_store(settings.store), Warehouse(settings.database)
    found = loading.load_split(store, database, options.split, settings.movies_max_ratings).split
    frame = loading.build_split_frame(found)
    return f"{len(found.train):,} train, {len(found.holdout):,} judge, {frame.memory_usage().sum() / 2**20:,.0f} MB"


STAGES: dict[str, Callable[[Settings], str]] = {"raw": raw, "warehouse": warehouse, "split": split}


def main() -> None:
    """Run the stages one after the other, or the one that this process was started for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--ratings", type=int, default=17_000_000)
    parser.add_argument("--movies", type=int, default=84_000)
    parser.add_argument("--only", nargs="*", choices=STAGES, default=list(STAGES))
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        settings = Settings.load(
            home=arguments.home, movies_sample_ratings=arguments.ratings, movies_sample_movies=arguments.movies
        )
        started = time.perf_counter()
        summary = STAGES[arguments.stage](settings)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(
            f"{arguments.stage:10} {time.perf_counter() - started:6.0f} s   peak {peak:6,.0f} MB   {summary}",
            flush=True,
        )
        return
    for stage in arguments.only:
        command = [sys.executable, *sys.orig_argv[1:], "--stage", stage]
        subprocess.run(command, env=os.environ, check=True)


if __name__ == "__main__":
    main()
