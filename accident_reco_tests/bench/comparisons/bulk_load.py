"""Ratings from CSV to Parquet parts with quarantine, and from the parts into the warehouse beside a bare bulk load.

See `bench.rating_loads`; the program `bench.ratings_load` measures 33 million rows, once.
"""

from __future__ import annotations

import time

from accident_reco_tests.bench.comparison import Goal, Options, Row, take_turns
from accident_reco_tests.bench.comparisons.accident_service import warehouses
from accident_reco_tests.bench.comparisons.profiles import profile_call
from accident_reco_tests.bench.rating_loads import RatingLoads

RATINGS = 3_000_000
FAST, GOALS = Goal(1, "least", "ours"), (Goal(2, "most"), Goal(1.5, "most"))


def compare(options: Options) -> list[Row]:
    """Million rows per second from CSV to parts, and seconds of a load by warehouse."""
    rows = max(6_000, int(RATINGS * options.scale))
    with warehouses(options) as stores:
        url = stores["PostgreSQL"]["database_url"]
        bench = RatingLoads(options.folder / "load", rows, url)
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
        into_postgres = take_turns(
            {"ours": bench.load_postgres, "bare": bench.load_bare_postgres}, options.rounds, options.report
        )
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
    bench = RatingLoads(options.folder / "load", rows)
    return profile_call(bench.load_sqlite)
