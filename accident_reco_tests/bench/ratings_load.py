"""Ratings from CSV to Parquet parts with quarantine, and from the parts into SQLite and PostgreSQL, beside bare loads.

Run: python -m accident_reco_tests.bench.ratings_load HOME [--ratings N] [--only STAGE…] [--postgres URL]

33 million rows as in the largest published set: `--ratings 33000000`. `--postgres` names an empty database that may be
written. `accident-reco bench --only load` measures fewer rows several times, in turns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from accident_reco_tests.bench import stages
from accident_reco_tests.bench.rating_loads import RatingLoads
from accident_reco_tests.bench.stages import Stage


def build_stage(run: Callable[[RatingLoads], str]) -> Stage:
    """A stage from what it does with files and databases."""
    return lambda arguments: run(RatingLoads(arguments.home, arguments.ratings, arguments.postgres))


def load_postgres(loads: RatingLoads) -> str:
    """Into PostgreSQL, where there is one."""
    return loads.compare_postgres() if loads.postgres else "left out: no --postgres"


STAGES: dict[str, Stage] = {
    "generate": build_stage(RatingLoads.generate),
    "parts": build_stage(RatingLoads.parts),
    "read": build_stage(RatingLoads.read),
    "sqlite": build_stage(RatingLoads.compare_sqlite),
    "postgresql": build_stage(load_postgres),
}


def main() -> int:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=int, default=3_000_000)
    parser.add_argument("--postgres", default="")
    return stages.run(parser, STAGES)


if __name__ == "__main__":
    sys.exit(main())
