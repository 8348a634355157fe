"""Drift verdicts by default on windows of real road users: which ones alarm, and by what evidence.

Run: python -m accident_reco_tests.bench.drift_alarms DIRECTORY [--windows 200] [--rows 5000] [--rounds 300]

DIRECTORY has a year of real BAAC files. Two champions are fitted, one on every month and one on the months after the
winter quarter. Windows like all months are drawn `--windows` times and counted by verdict; the other windows are shown
with share, importance of drifted features, and shift of the mean prediction.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import pandas as pd

from accident_reco.drift.verdict import Verdict
from accident_reco_tests.support.accident_windows import (
    WINTER,
    Champion,
    draw,
    is_motorcyclist_outside,
    load_road_users,
)


def main() -> int:
    """Prints a table per champion."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    everybody = load_road_users(options.directory)
    winter = everybody[everybody["mois"] <= WINTER]
    later = everybody[everybody["mois"] > WINTER]
    riders = everybody[is_motorcyclist_outside(everybody)]
    windows = {
        "winter quarter": draw(winter, options.rows, 1),
        "winter quarter, all rows": winter,
        "motorcyclists outside of towns, 20 %": _mix(riders, everybody, 0.2, options.rows),
        "motorcyclists outside of towns, 40 %": _mix(riders, everybody, 0.4, options.rows),
        "motorcyclists outside of towns, 78 %": _mix(riders, everybody, 0.78, options.rows),
        "night (22 to 5 h)": everybody[(everybody["hrmn"] >= 2200) | (everybody["hrmn"] < 500)],
        "Paris and its suburbs": everybody[everybody["dep"].isin(["75", "92", "93", "94"])],
        "outside of towns": everybody[everybody["agg"] == 1],
    }
    for name, rows in (("all months", everybody), ("April to September", later)):
        champion = Champion.fit(rows, options.rounds)
        same = Counter(champion.check(draw(rows, options.rows, seed)).status for seed in range(options.windows))
        _print(f"\nChampion of {name}; {options.windows} windows like its data: {dict(same)}\n")
        _print("| window | rows | verdict | features drifted | their importance | mean prediction | shift (sd) |")
        _print("|---|---|---|---|---|---|---|")
        for label, window in windows.items():
            _print(_format_row(label, champion.check(window)))
    return 0


def _mix(riders: pd.DataFrame, everybody: pd.DataFrame, share: float, rows: int) -> pd.DataFrame:
    count = round(rows * share)
    return pd.concat([draw(riders, count, 1), draw(everybody, rows - count, 2)])


def _format_row(label: str, verdict: Verdict) -> str:
    moved = verdict.prediction.comparison if verdict.prediction else None
    shown = f"{moved.change.removeprefix('mean ')} | {moved.shift:+.2f}" if moved else "– | –"
    drifted = f"{len(verdict.drifted)} of {verdict.evaluated} ({verdict.drifted_share:.0%})"
    return f"| {label} | {verdict.rows:,} | {verdict.status} | {drifted} | {verdict.drifted_importance:.0%} | {shown} |"


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
