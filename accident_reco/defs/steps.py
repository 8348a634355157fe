"""Where the steps of a run run: each in a process of its own, or all in one (`execution: {config: {in_process: {}}}`).

Dagster's own default starts every step with a new interpreter that imports everything again, seconds of processor time
each. Here one process imports what all steps need, and every step is a fork of it.
"""

from __future__ import annotations

import multiprocessing
import os
from typing import Any, Final

import dagster as dg

from accident_reco.defs.run_queue import is_urgent
from accident_reco.settings import Settings

NICE: Final = 10
"""Priority of work: about a tenth of the processor time of what nobody can wait for, where both want a core."""
PRELOADED: Final = [
    "accident_reco.definitions",
    # What Dagster itself imports only when a step opens its instance: half a second of each.
    "dagster._core.storage.sqlite_storage",
    "dagster._utils.test",
    "scipy.sparse",
]
TRAINING: Final = [*PRELOADED, "mlflow.store.tracking.sqlalchemy_store"]
"""Two steps of every training talk to MLflow, whose import takes over two seconds; nobody else waits for it."""


def forked_steps(preloaded: list[str]) -> dg.ExecutorDefinition:
    """The executor whose steps are forks of a process that has imported these modules (one that is missing is left
    out: a step then imports what it needs by itself).
    """

    def forked(config: dict[str, Any]) -> dict[str, Any]:
        if "multiprocess" not in config:
            return config
        forkserver = {"forkserver": {"preload_modules": preloaded}}
        return {"multiprocess": {"start_method": forkserver, **config["multiprocess"]}}

    return dg.multi_or_in_process_executor.configured(
        forked,
        config_schema=dg.multi_or_in_process_executor.config_schema.as_field(),
        name="multi_or_in_process_executor",
    )


def partitioned_executor(settings: Settings) -> dg.ExecutorDefinition | None:
    """Executor of jobs over partitions: workers where a broker is set; None: the default."""
    if not settings.broker_url:
        return None
    from accident_reco.defs.workers import workers_executor

    return workers_executor(settings)


FORKED_STEPS: Final = forked_steps(PRELOADED)
FORKED_TRAINING: Final = forked_steps(TRAINING)


def give_way(run: dg.DagsterRun | None) -> None:
    """Let servers, and a person who rolls back, go before this process, if Dagster made it for a run that can wait."""
    if run is not None and not is_urgent(run) and multiprocessing.parent_process() is not None:
        os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))
