"""Writes sample files to a directory: `python -m accident_reco.models.accidents.sample 2005-2024 DIRECTORY`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.accidents.sources.sample import parse_years


def main() -> int:
    """Exit code 0, or 2 with the usage for wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m accident_reco.models.accidents.sample", description=__doc__)
    parser.add_argument("years", type=parse_years, help="such as 2005-2024 or 2019,2022")
    parser.add_argument(
        "directory", type=Path, help="created if it does not exist; files of the same name are replaced"
    )
    parser.add_argument("--people", type=int, default=10_000, help="road users per year, about (default 10000)")
    parser.add_argument("--seed", type=int, default=20, help="the same seed gives the same bytes (default 20)")
    chosen = parser.parse_args()
    chosen.directory.mkdir(parents=True, exist_ok=True)
    for year in chosen.years:
        for file in sample_year(year, chosen.people, chosen.seed).values():
            (chosen.directory / file.name).write_bytes(file.data)
            sys.stdout.write(f"{chosen.directory / file.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
