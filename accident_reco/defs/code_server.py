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


def main() -> None:
    """Replace the way in which the server starts processes, then run it."""
    from accident_reco.defs.steps import PRELOADED
    from accident_reco.log_lines import report_crashes

    report_crashes("code")
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(PRELOADED)
    other = multiprocessing.get_context

    def get_context(method: str | None = None) -> BaseContext:
        return forking if method == "spawn" else other(method)

    replaced: Any = get_context
    multiprocessing.get_context = replaced
    sys.argv = ["dagster", "api", "grpc", *sys.argv[1:]]
    runpy.run_module("dagster", run_name="__main__", alter_sys=False)


# The children import this module too, by another name: it imports nothing of Dagster before it is the program.
if __name__ == "__main__":
    main()
