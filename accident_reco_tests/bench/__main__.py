"""Runs the comparisons of `accident-reco bench` and writes their report."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from accident_reco.cli.output import note, print_json, print_line
from accident_reco.launch.signals import Stopped, stop_on_signals
from accident_reco.settings import Settings
from accident_reco_tests.bench.comparison import Comparison, Options, Result, Run, find_exit_code
from accident_reco_tests.bench.comparisons import COMPARISONS
from accident_reco_tests.bench.machine import describe_machine
from accident_reco_tests.bench.report import SCALE, build_document, build_markdown, write_report

PEERS_FOLDER = ("cache", "bench-peers")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the program; the command `accident-reco bench` checks and passes them."""
    parser = argparse.ArgumentParser(prog="accident-reco bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=COMPARISONS, help="a comparison; repeat it for several")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def run_comparison(comparison: Comparison, options: Options, run: Run) -> Result:
    """Run one comparison, and profile our side where it misses a goal. A failure is part of the result."""
    started = time.monotonic()
    found: dict[str, Any] = {"name": comparison.name, "question": comparison.question, "run": run}
    try:
        module = import_module(f"accident_reco_tests.bench.comparisons.{comparison.module}")
        result = Result(**found, rows=module.compare(options))
        if result.missed and hasattr(module, "profile"):
            options.report("a goal is missed: profiling")
            result = Result(**found, rows=result.rows, profile=module.profile(options))
    except Exception as error:  # whatever it is: the other comparisons still run, and the report states it
        result = Result(**found, error=f"{type(error).__name__}: {error}"[:2000])
    return Result(**{**vars(result), "seconds": time.monotonic() - started})


def main() -> int:
    """Run, print, and write the report; the exit code is that of `find_exit_code`."""
    stop_on_signals()  # so that servers end with a run that is stopped
    arguments = parse()
    names = list(dict.fromkeys(arguments.only or COMPARISONS))
    settings = {"rounds": arguments.rounds, "seconds of a turn": arguments.seconds, SCALE: arguments.scale}
    run, results = Run(describe_machine(), settings), []
    peers = Settings.load().home.absolute().joinpath(*PEERS_FOLDER)
    for number, name in enumerate(names, 1):
        head = f"[{number}/{len(names)}] {name}"
        note(f"{head}: {COMPARISONS[name].question}")
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            options = Options(
                arguments.rounds,
                arguments.seconds,
                arguments.scale,
                Path(folder),
                peers,
                lambda line, head=head: note(f"{head}: {line}"),
            )
            results.append(run_comparison(COMPARISONS[name], options, run))
        if results[-1].error:
            note(f"{head} failed: {results[-1].error}")
    if arguments.out is not None:
        write_report(arguments.out, results)
        note(f"written: {arguments.out}")
    if arguments.json:
        print_json(build_document(results))
    else:
        for line in build_markdown(results):
            print_line(line)
    return find_exit_code(results)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
