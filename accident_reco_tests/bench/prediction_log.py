"""A drift check's reads of the prediction log on PostgreSQL, with few and with many logged rows, and its retention.

Run: python -m accident_reco_tests.bench.prediction_log [--rows 20_000_000] [--few 200_000]

The same window, of as many rows, is read from a log of `--few` rows and from one of `--rows`: more months of the same
traffic. Pages count the work, whatever the machine does meanwhile. 20 million rows take about 8 GB of disk.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from accident_reco.settings import Settings
from accident_reco.storage.prediction_log import delete_older_than, labelled_predictions, prediction_window
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.bench.predict_process import postgres
from accident_reco_tests.support.logged_months import create_past_months, explain, log_rows

MONTHS = 12
REPEATS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--few", type=int, default=200_000)
    arguments = parser.parse_args()
    now = datetime.now(UTC)
    days = 30 * MONTHS * arguments.few / arguments.rows
    settings = Settings.load()
    # The traffic is the same in both logs; so is the window, which the smaller one has to contain.
    hours = min(settings.drift_window_hours, 0.9 * 24 * days)
    since, size = now - timedelta(hours=hours), settings.drift_window_rows

    def read(warehouse: Warehouse) -> int:
        rows = prediction_window(warehouse, "accidents", since=since, limit=2 * size)
        return len(rows) + len(labelled_predictions(warehouse, "accidents", since=since, limit=10 * size))

    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder)) as url:
        warehouse = Warehouse(url)
        create_past_months(warehouse, now, MONTHS)
        log_rows(warehouse, arguments.few, now, days=days, name="a")
        report(warehouse, arguments.few, read)
        more = arguments.rows - arguments.few
        log_rows(warehouse, more, now - timedelta(days=days), days=30 * MONTHS - days, name="b")
        report(warehouse, arguments.rows, read)
        began = time.perf_counter()
        deleted = delete_older_than(warehouse, timedelta(days=30 * (MONTHS - 2)))
        print(f"retention of {deleted:,} rows and labels: {time.perf_counter() - began:.1f} s")
        warehouse.close()


def report(warehouse: Warehouse, logged: int, read: Callable[[Warehouse], int]) -> None:
    """Pages and time of the reads."""
    found = read(warehouse)
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        read(warehouse)
        times.append(time.perf_counter() - began)
    pages, kinds = explain(warehouse, read)
    print(
        f"{logged:12,} rows logged: {found:,} rows read, {pages:,} pages, {statistics.median(times):.2f} s;"
        f" {', '.join(sorted(kinds))}",
        flush=True,
    )


if __name__ == "__main__":
    main()
