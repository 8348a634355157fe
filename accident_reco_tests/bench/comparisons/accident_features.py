"""A year from published CSV to features, against reading its four files with bare pandas; memory of 20 years.

The files of the newest year of `ACCIDENT_RECO_ACCIDENTS_SOURCE` where that is a directory, else of a sample year.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
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
from accident_reco_tests.bench.comparison import Options, Row, take_turns
from accident_reco_tests.bench.peers import name_of_the_lock
from accident_reco_tests.bench.published import newest_year

ROAD_USERS = 125_000
MIN_SCALE_OF_YEARS = 0.1
"""Below this scale the years are left out: a trial takes seconds."""


def compare(options: Options) -> list[Row]:
    """Seconds of one thread's processor time: reading, merging, validating and features against reading alone."""
    source = os.environ.get("ACCIDENT_RECO_ACCIDENTS_SOURCE", "")
    if source and Path(source).is_dir():
        files, year = newest_year(source)
    else:
        year = 2024
        files = sample_year(year, max(1000, int(ROAD_USERS * options.scale)))
    victims = build_victims(files, year).victims
    spec = FeatureSpec.learn(to_arrays(victims))
    times = take_turns(
        {
            "ours": partial(measure, lambda: build_features(to_arrays(build_victims(files, year).victims), spec)),
            "pandas": partial(measure, lambda: read_with_pandas(files)),
        },
        options.rounds,
        options.report,
    )
    what = f"{len(victims):,} road users of {year}, CSV to features"
    peer = name_of_the_lock("pandas", "read_csv of bare pandas")
    rows = [Row(what, "s", times["ours"], peer, times["pandas"], "cost")]
    if options.scale < MIN_SCALE_OF_YEARS:
        return rows
    options.report("20 sample years")
    seconds, peak, road_users = ingest_in_a_process(int(ROAD_USERS * options.scale))
    what = f"20 sample years, {road_users:,.0f} road users, stored and merged"
    return [*rows, Row(f"{what}: time", "s", [seconds]), Row(f"{what}: peak memory", "GiB", [peak])]


def ingest_in_a_process(road_users: int) -> list[float]:
    """Seconds, peak memory in GiB, and road users of 20 years of so many each, in a process of its own."""
    command = [sys.executable, "-m", __name__, str(road_users)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def ingest_years_of_sample(road_users: int) -> list[float]:
    """As `ingest_in_a_process`, in this one."""
    with tempfile.TemporaryDirectory() as folder:
        started, count = time.perf_counter(), 0
        source = SampleSource(list(range(2005, 2025)), road_users, seed=20)
        for year in ingest_years(open_store(folder), source, source.years(), TABLES, merge=True):
            assert isinstance(year, IngestedYear), year
            count += (year.summary or {}).get("victims", 0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return [time.perf_counter() - started, peak, count]


def read_with_pandas(files: dict[str, RawFile]) -> None:
    """The four files as data frames."""
    for file in files.values():
        pd.read_csv(io.BytesIO(file.data), sep=";", low_memory=False)


def to_arrays(victims: pd.DataFrame) -> dict[str, np.ndarray]:
    """Columns of a table."""
    return {str(name): victims[name].to_numpy() for name in victims}


def measure(work: Callable[[], object]) -> float:
    """Wall seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(ingest_years_of_sample(int(sys.argv[1]))))
