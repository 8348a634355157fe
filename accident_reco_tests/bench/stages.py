"""Stages of a measurement as a Markdown table: each is a process, so that its time and peak memory are its own."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

Stage = Callable[[argparse.Namespace], str]
"""Arguments of the program → what the stage found, in words."""
COLUMNS = ("stage", "seconds", "CPU seconds", "peak memory", "result")


def run(parser: argparse.ArgumentParser, stages: Mapping[str, Stage]) -> int:
    """Run the stages of a program, or the one that this process was started for; 1 where one failed.

    A stage that fails does not stop those after it: what they need may be there from an earlier run.
    """
    parser.add_argument("home", type=Path, help="folder that is kept: stages find there what others made")
    parser.add_argument("--only", nargs="*", choices=stages, default=list(stages), help="stages that run, in order")
    parser.add_argument("--stage", choices=stages, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        print(measure(arguments.stage, stages[arguments.stage], arguments), flush=True)
        return 0
    print(format_row(COLUMNS), "|---" * len(COLUMNS) + "|", sep="\n", flush=True)
    failed = 0
    for stage in arguments.only:
        done = subprocess.run([sys.executable, *sys.orig_argv[1:], "--stage", stage], env=os.environ, check=False)
        if done.returncode:
            failed = 1
            print(format_row((stage, "", "", "", f"failed with exit code {done.returncode}")), flush=True)
    return failed


def measure(name: str, stage: Stage, arguments: argparse.Namespace) -> str:
    """Run a stage in this process, and its row of the table."""
    started = time.perf_counter()
    found = stage(arguments)
    seconds, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cells = name, f"{seconds:,.0f}", f"{used.ru_utime + used.ru_stime:,.0f}", f"{used.ru_maxrss / 2**20:.2f} GiB", found
    return format_row(cells)


def format_row(cells: tuple[str, ...]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"
