"""Measures what a platform costs when nothing happens: processor time of each process, duration of each sensor's ticks.

`python -m accident_reco_tests.bench.idle HOME [--seconds N]`, beside `accident-reco up` on that home, some minutes
after its first runs. A profile of a process: `py-spy record --native -d 60 -p PID`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from pathlib import Path

import dagster as dg
import psutil

from accident_reco.launch.status import processes as read_processes


def find_processes(home: Path) -> dict[str, psutil.Process]:
    """Supervised process → its own; empty where no platform runs on the home."""
    return {row["name"]: psutil.Process(row["pid"]) for row in read_processes(home) if row["pid"]}


def measure_processor_time(processes: dict[str, psutil.Process], seconds: float) -> dict[str, float]:
    """Process → its processor time and that of its children, in seconds per minute."""

    def used() -> dict[str, float]:
        return {name: sum(_own_time(one) for one in _family(process)) for name, process in processes.items()}

    before = used()
    time.sleep(seconds)
    return {name: (value - before[name]) * 60 / seconds for name, value in used().items()}


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _own_time(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def read_ticks(instance: dg.DagsterInstance, since: float) -> dict[str, list[float]]:
    """Sensor → seconds of each of its ticks since a time (seconds UTC)."""
    found: dict[str, list[float]] = defaultdict(list)
    for state in instance.all_instigator_state():
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, after=since):
            if tick.end_timestamp:
                found[state.instigator_name].append(tick.end_timestamp - tick.timestamp)
    return dict(found)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--seconds", type=float, default=300)
    chosen = parser.parse_args()
    began = time.time()
    spent = measure_processor_time(find_processes(chosen.home), chosen.seconds)
    for name, value in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"{name:<16} {value:6.2f} CPU s/min")
    print(f"{'all':<16} {sum(spent.values()):6.2f} CPU s/min")
    with dg.DagsterInstance.from_config(str(chosen.home / "dagster")) as instance:
        ticks = read_ticks(instance, began)
    print(f"\n{'sensor':<32} {'ticks':>5} {'median':>8} {'longest':>8} {'s/min':>7}")
    for name, durations in sorted(ticks.items(), key=lambda item: -sum(item[1])):
        middle, longest = statistics.median(durations), max(durations)
        share = sum(durations) * 60 / chosen.seconds
        print(f"{name:<32} {len(durations):>5} {middle:>7.3f}s {longest:>7.3f}s {share:>7.2f}")


if __name__ == "__main__":
    main()
