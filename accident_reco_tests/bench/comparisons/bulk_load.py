"""Ratings from CSV to Parquet parts with quarantine, and from the parts into the warehouse beside a bare bulk load.

Bare is a table of the same columns and key in one transaction: `COPY … FROM STDIN` of a CSV file in PostgreSQL,
`executemany` from columns in memory in SQLite. See `bench.ratings_load`.
"""

from __future__ import annotations

import argparse
import time

from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.bench.comparison import Goal, Options, Row, take_turns
from accident_reco_tests.bench.comparisons.accident_service import warehouses
from accident_reco_tests.bench.comparisons.profiles import profile_call
from accident_reco_tests.bench.ratings_load import Bench

RATINGS = 3_000_000
FAST, GOALS = Goal(1, "least", "ours"), (Goal(2, "most"), Goal(1.5, "most"))


def compare(options: Options) -> list[Row]:
    """Million rows per second from CSV to parts, and seconds of a load by warehouse."""
    rows = max(6_000, int(RATINGS * options.scale))
    with warehouses(options) as stores:
        url = stores["PostgreSQL"]["database_url"]
        bench = Bench(argparse.Namespace(home=options.folder / "load", ratings=rows, postgres=url))
        options.report(f"generating {rows:,} ratings")
        bench.generate()
        rates = []
        for number in range(options.rounds):
            options.report(f"parts, round {number + 1} of {options.rounds}")
            started = time.perf_counter()
            bench.parts()
            rates.append(rows / 1e6 / (time.perf_counter() - started))
        into_sqlite = take_turns(
            {"ours": bench.load_sqlite, "bare": bench.load_bare_sqlite}, options.rounds, options.report
        )
        warehouse = Warehouse(url)
        into_postgres = take_turns(
            {"ours": bench.load_postgres, "bare": lambda: bench.load_bare_postgres(warehouse)},
            options.rounds,
            options.report,
        )
        warehouse.close()
    parts = Row(f"{rows:,} ratings from CSV to Parquet parts, with quarantine", "million rows/s", rates, goal=FAST)
    what = f"{rows:,} ratings from parts into"
    sqlite = Row(f"{what} SQLite", "s", into_sqlite["ours"], "bare executemany", into_sqlite["bare"], "cost", GOALS[0])
    postgres = Row(
        f"{what} PostgreSQL", "s", into_postgres["ours"], "bare COPY", into_postgres["bare"], "cost", GOALS[1]
    )
    return [parts, sqlite, postgres]


def profile(options: Options) -> str:
    """Functions of a load into SQLite that take its time."""
    rows = max(6_000, int(RATINGS * options.scale))
    bench = Bench(argparse.Namespace(home=options.folder / "load", ratings=rows, postgres=""))
    return profile_call(bench.load_sqlite)
