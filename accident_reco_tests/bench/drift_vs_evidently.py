"""Times our drift check and Evidently's on the same 200,000 × 28 table, in one process, one after the other.

Run: python -m accident_reco_tests.bench.drift_vs_evidently [rows]
"""

import argparse
import os
import sys
import time
import warnings

os.environ.setdefault("DO_NOT_TRACK", "1")

import numpy as np
import pandas as pd

from accident_reco.drift.verdict import Thresholds, evaluate_drift
from accident_reco.lifecycle.reference import Kind, build_reference, read_reference

NUMERIC, CATEGORICAL = 20, 8


def table(rng: np.random.Generator, rows: int, shift: float) -> pd.DataFrame:
    """Twenty numeric features, half of them shifted by `shift` sigma, and eight of ten codes each."""
    numbers = {f"n{i:02}": rng.normal(shift if i % 2 else 0.0, 1.0, rows) for i in range(NUMERIC)}
    codes = {f"c{i}": rng.integers(0, 10, rows) for i in range(CATEGORICAL)}
    return pd.DataFrame({**numbers, **codes})


def main(rows: int = 200_000) -> float:
    """Print both times and what both found; return ours over Evidently's."""
    rng = np.random.default_rng(1)
    before, now = table(rng, rows, 0.0), table(rng, rows, 0.3)
    groups = np.repeat(np.arange(rows // 2 + 1), 2)[:rows]
    kinds: dict[str, Kind] = {name: "numeric" if name.startswith("n") else "categorical" for name in before}

    start = time.perf_counter()
    profile = build_reference({name: before[name].to_numpy() for name in before}, kinds, groups)
    built = time.perf_counter() - start
    reference = read_reference(profile)
    start = time.perf_counter()
    verdict = evaluate_drift(
        reference, {name: now[name].to_numpy() for name in now}, groups, thresholds=Thresholds(share=0.3)
    )
    ours = time.perf_counter() - start

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        definition = DataDefinition(
            numerical_columns=[name for name in kinds if kinds[name] == "numeric"],
            categorical_columns=[name for name in kinds if kinds[name] == "categorical"],
        )
        start = time.perf_counter()
        report = Report([DataDriftPreset(num_method="ks", cat_method="chisquare", drift_share=0.3)])
        snapshot = report.run(
            current_data=Dataset.from_pandas(now, data_definition=definition),
            reference_data=Dataset.from_pandas(before, data_definition=definition),
        )
        counted = snapshot.dict()["metrics"][0]
        theirs = time.perf_counter() - start

    sys.stdout.write(
        f"{rows} rows x {len(kinds)} columns\n"
        f"verdict   {ours:7.3f} s  (two rows a group; {verdict.reason})\n"
        f"profile   {built:7.3f} s  (built once, at training)\n"
        f"Evidently {theirs:7.3f} s  (import not counted; {counted['value']})\n"
        f"verdict / Evidently = {ours / theirs:.3f}; profile + verdict / Evidently = {(ours + built) / theirs:.3f}\n"
    )
    return ours / theirs


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="?", type=int, default=200_000, help="rows a side (default: %(default)s)")
    main(parser.parse_args().rows)
