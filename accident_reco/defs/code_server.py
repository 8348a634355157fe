"""Runs Dagster's code server: `python -m accident_reco.defs.code_server`, with the options of `dagster api grpc`.

Dagster starts a new interpreter per run, which imports everything again: over three seconds of processor time each.
Here one process imports what runs need when the first one starts, and every run is a fork of it.
"""

from __future__ import annotations

import multiprocessing
import runpy
import sys
from multiprocessing.context import BaseContext
from typing import Any


def read_migrations_once() -> None:
    """Let Dagster read its migration scripts once, and not whenever it opens its instance.

    It opens it for each tick of a sensor and compares three databases with sixty scripts, which is two thirds of what a
    tick costs.
    """
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    read = ScriptDirectory.from_config
    known: dict[str | None, ScriptDirectory] = {}

    def from_config(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in known:
            known[location] = read(config)
        return known[location]

    ScriptDirectory.from_config = from_config  # type: ignore[method-assign]


def main() -> None:
    """Replace the way in which the server starts processes and opens its instance, then run it."""
    from accident_reco.defs.steps import PRELOADED_FOR_TRAINING
    from accident_reco.log_lines import report_crashes

    report_crashes("code")
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(PRELOADED_FOR_TRAINING)  # its runs fork their steps from it, too
    other = multiprocessing.get_context

    def get_context(method: str | None = None) -> BaseContext:
        return forking if method == "spawn" else other(method)

    read_migrations_once()
    replaced: Any = get_context
    multiprocessing.get_context = replaced
    sys.argv = ["dagster", "api", "grpc", *sys.argv[1:]]
    runpy.run_module("dagster", run_name="__main__", alter_sys=False)


# The children import this module too, by another name: it imports nothing of Dagster before it is the program.
if __name__ == "__main__":
    main()
