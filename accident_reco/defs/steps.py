"""Where the steps of a run run: each in a process of its own, or all in one (`execution: {config: {in_process: {}}}`).

Dagster's own default starts every step with a new interpreter that imports everything again, seconds of processor time
each. Here one process imports the platform, and every step is a fork of it.
"""

from __future__ import annotations

import multiprocessing
import os
from typing import Any, Final

import dagster as dg

from accident_reco.defs.run_queue import is_urgent

NICE: Final = 10
"""Priority of work: about a tenth of the processor time of what nobody can wait for, where both want a core."""
PRELOADED: Final = ["accident_reco.definitions"]


def _forked(config: dict[str, Any]) -> dict[str, Any]:
    if "multiprocess" not in config:
        return config
    forkserver = {"forkserver": {"preload_modules": PRELOADED}}
    return {"multiprocess": {"start_method": forkserver, **config["multiprocess"]}}


FORKED_STEPS: Final = dg.multi_or_in_process_executor.configured(
    _forked,
    config_schema=dg.multi_or_in_process_executor.config_schema.as_field(),
    name="multi_or_in_process_executor",
)


def give_way(run: dg.DagsterRun | None) -> None:
    """Let servers, and a person who rolls back, go before this process, if Dagster made it for a run that can wait."""
    if run is not None and not is_urgent(run) and multiprocessing.parent_process() is not None:
        os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))
