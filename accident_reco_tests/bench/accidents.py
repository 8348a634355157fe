"""What a year costs from published CSV to features, against reading its four files with pandas; twenty years in memory.

`python -m accident_reco_tests.bench.accidents [DIRECTORY]`: with a directory that holds a real year, measures that;
otherwise a made-up year of the same size. Prints one line per measurement; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data.ingest import IngestedYear, ingest_years
from accident_reco.models.accidents.data.victims import RawFile, build_victims
from accident_reco.models.accidents.features.builder import FeatureSpec, build_features
from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.accidents.sources.sample import SampleSource
from accident_reco.storage.objects import open_store
from accident_reco_tests.bench.published import newest_year

PEOPLE_A_YEAR = 125_000
REPEATS = 5


def main() -> int:
    """Prints the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    named = os.environ.get("ACCIDENT_RECO_ACCIDENTS_SOURCE", "")  # of `make bench ACCIDENTS=…`
    parser.add_argument(
        "directory",
        nargs="?",
        default=named if Path(named).is_dir() else None,
        help="holds the files of a real year; default: a sample year",
    )
    files, year = _year(parser.parse_args().directory)
    victims = build_victims(files, year).victims
    spec = FeatureSpec.learn(_columns(victims))
    plain, plain_cpu = _best(lambda: _pandas(files))
    whole, whole_cpu = _best(lambda: build_features(_columns(build_victims(files, year).victims), spec))
    _print(
        f"{year}: {len(victims):,} road users; pandas reads the four files in {plain:.2f} s "
        f"({plain_cpu:.2f} s of CPU), "
        f"CSV to features takes {whole:.2f} s ({whole_cpu:.2f} s of CPU): {whole / plain:.2f} times that"
    )
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        source = SampleSource(list(range(2005, 2025)), PEOPLE_A_YEAR, seed=20)
        road_users = 0
        for year_done in ingest_years(open_store(folder), source, source.years(), TABLES, merge=True):
            assert isinstance(year_done, IngestedYear), year_done
            road_users += (year_done.summary or {}).get("victims", 0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        _print(
            f"20 years, {road_users:,} road users, made, stored and merged in {time.perf_counter() - started:.0f} s; "
            f"peak memory {peak:.2f} GiB"
        )
    return 0


def _year(directory: str | None) -> tuple[dict[str, RawFile], int]:
    if directory is None:
        return sample_year(2024, PEOPLE_A_YEAR), 2024
    return newest_year(directory)


def _pandas(files: dict[str, RawFile]) -> None:
    for file in files.values():
        pd.read_csv(io.BytesIO(file.data), sep=";", low_memory=False)


def _columns(victims: pd.DataFrame) -> dict[str, np.ndarray]:
    return {str(name): victims[name].to_numpy() for name in victims}


def _best(work: Callable[[], object]) -> tuple[float, float]:
    """Best wall and CPU seconds of some repeats."""
    walls, cpus = [], []
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
