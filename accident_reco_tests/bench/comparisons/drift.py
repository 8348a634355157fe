"""Our drift check, Evidently's and NannyML's on one table: 20 numeric and 8 categorical columns, KS and chi-square.

Ours runs on a profile that was built at training; that is measured, too. NannyML has fitted its reference before.
"""

from __future__ import annotations

import os
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from accident_reco.drift.verdict import Thresholds, evaluate_drift
from accident_reco.lifecycle.reference import Kind, build_reference, read_reference
from accident_reco_tests.bench import peers
from accident_reco_tests.bench.comparison import Goal, Options, Row, take_turns
from accident_reco_tests.bench.comparisons.profiles import profile_call
from accident_reco_tests.bench.peers import NANNYML, PROGRAMS, PeerMissing, name_of_the_lock
from accident_reco_tests.bench.servers import QUIET

NUMERIC, CATEGORICAL, ROWS = 20, 8, 200_000
SHARE = 0.3
KINDS: dict[str, Kind] = {
    **{f"n{number:02}": "numeric" for number in range(NUMERIC)},
    **{f"c{number}": "categorical" for number in range(CATEGORICAL)},
}
Table = dict[str, np.ndarray]


class Work:
    """Both tables, and each side's check of them."""

    def __init__(self, rows: int) -> None:
        rng = np.random.default_rng(1)
        self.rows = rows
        self.before, self.now = build_table(rng, rows, 0.0), build_table(rng, rows, 0.3)
        self.groups = np.repeat(np.arange(rows // 2 + 1), 2)[:rows]
        self.reference = read_reference(build_reference(self.before, KINDS, self.groups))

    def check(self) -> float:
        """Seconds of our verdict."""
        started = time.perf_counter()
        evaluate_drift(self.reference, self.now, self.groups, thresholds=Thresholds(share=SHARE))
        return time.perf_counter() - started

    def check_with_profile(self) -> float:
        """Seconds of building the profile, reading it, and the verdict."""
        started = time.perf_counter()
        reference = read_reference(build_reference(self.before, KINDS, self.groups))
        evaluate_drift(reference, self.now, self.groups, thresholds=Thresholds(share=SHARE))
        return time.perf_counter() - started

    def check_with_evidently(self) -> float:
        """Seconds of Evidently's preset; its import does not count."""
        os.environ.setdefault("DO_NOT_TRACK", "1")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from evidently import DataDefinition, Dataset, Report
            from evidently.presets import DataDriftPreset

            definition = DataDefinition(
                numerical_columns=[name for name, kind in KINDS.items() if kind == "numeric"],
                categorical_columns=[name for name, kind in KINDS.items() if kind == "categorical"],
            )
            now, before = pd.DataFrame(self.now), pd.DataFrame(self.before)
            started = time.perf_counter()
            report = Report([DataDriftPreset(num_method="ks", cat_method="chisquare", drift_share=SHARE)])
            report.run(
                current_data=Dataset.from_pandas(now, data_definition=definition),
                reference_data=Dataset.from_pandas(before, data_definition=definition),
            ).dict()
            return time.perf_counter() - started


def build_table(rng: np.random.Generator, rows: int, shift: float) -> Table:
    """Twenty numeric columns, half of them shifted by `shift` sigma, and eight of ten codes each."""
    numbers = {f"n{i:02}": rng.normal(shift if i % 2 else 0.0, 1.0, rows) for i in range(NUMERIC)}
    codes = {f"c{i}": rng.integers(0, 10, rows) for i in range(CATEGORICAL)}
    return {**numbers, **codes}


def compare(options: Options) -> list[Row]:
    """Seconds of a check by side."""
    work = Work(max(2000, int(ROWS * options.scale)))
    sides = {
        "ours": work.check,
        "ours with its profile": work.check_with_profile,
        "Evidently": work.check_with_evidently,
    }
    Work(2000).check_with_evidently()  # its imports are no part of a turn
    missing, what = "", f"drift verdict on {work.rows:,} × {len(KINDS)}"
    try:
        with nannyml(work, options) as check:
            times = take_turns({**sides, "NannyML": check}, options.rounds, options.report)
    except PeerMissing as error:
        missing = str(error)
        times = take_turns(sides, options.rounds, options.report)
    evidently = name_of_the_lock("evidently", "Evidently")
    return [
        Row(what, "s", times["ours"], evidently, times["Evidently"], "speedup", Goal(20)),
        Row(f"{what}, profile included", "s", times["ours with its profile"], evidently, times["Evidently"], "speedup"),
        Row(what, "s", times["ours"], NANNYML.title, times.get("NannyML", []), "speedup", None, missing),
    ]


def profile(options: Options) -> str:
    """Functions of our check that take its time."""
    return profile_call(Work(max(2000, int(ROWS * options.scale))).check)


@contextmanager
def nannyml(work: Work, options: Options) -> Iterator:
    """NannyML's check in its environment, as a process that answers each line with seconds.

    Raises:
        PeerMissing: it cannot be installed, or failed.
    """
    python = peers.install(NANNYML, options.peers, options.report)
    tables = options.folder / "tables.npz"
    sides = {"before": work.before, "now": work.now}
    np.savez(tables, **{f"{side}/{name}": values for side, table in sides.items() for name, values in table.items()})
    log = options.folder / "nannyml.log"
    environment = {**os.environ, **QUIET}
    command = [str(python), str(PROGRAMS / "nanny_drift.py"), str(tables)]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None

        def read() -> str:
            line = process.stdout.readline()
            if not line:
                raise PeerMissing(f"NannyML ended: {tail(log)}")
            return line.strip()

        def check() -> float:
            process.stdin.write("check\n")
            process.stdin.flush()
            return float(read())

        options.report(f"starting {NANNYML.title}")
        read()
        yield check
        process.stdin.close()


def tail(log: Path) -> str:
    """The end of an error output, in one line."""
    return " ".join(log.read_text(encoding="utf-8", errors="replace").split())[-200:]
