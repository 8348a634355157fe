"""A year from published CSV to features, against reading its four files with pandas and nothing else.

The files of the newest year of `ACCIDENT_RECO_ACCIDENTS_SOURCE` where that is a directory, else of a sample year.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from accident_reco.models.accidents.data.victims import RawFile, build_victims
from accident_reco.models.accidents.features.builder import FeatureSpec, build_features
from accident_reco.models.accidents.sample import sample_year
from accident_reco_tests.bench.comparison import Options, Row, take_turns
from accident_reco_tests.bench.peers import name_of_the_lock
from accident_reco_tests.bench.published import newest_year

ROAD_USERS = 125_000


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
    return [Row(what, "s", times["ours"], peer, times["pandas"], "cost")]


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
