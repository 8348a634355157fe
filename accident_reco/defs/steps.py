"""Executors: each step in a process of its own, or all in one (`execution: {config: {in_process: {}}}`).

Dagster's default starts a new interpreter per step, which imports everything again: seconds of processor time each.
Here one process imports what all steps need, and every step is a fork of it: that of the code server where the run is a
fork of it too, or else one of the run's own.
"""

from __future__ import annotations

import multiprocessing
import os
from typing import Any, Final

import dagster as dg

from accident_reco.defs.dagster_internals import PRELOADED_MODULES
from accident_reco.defs.run_queue import is_urgent
from accident_reco.defs.shared_forkserver import share_forkserver
from accident_reco.settings import Settings

NICE: Final = 10
"""Niceness of steps: about a tenth of the processor time of servers and rollbacks where both want a core."""
PRELOADED: Final = ["accident_reco.defs.preloaded", *PRELOADED_MODULES, "scipy.sparse"]
"""Modules that the steps of every job need."""
PRELOADED_FOR_TRAINING: Final = [
    *PRELOADED,
    "accident_reco.mlflow_flavour.saving",
    "mlflow.store.tracking.sqlalchemy_store",
]
"""Modules that trainings need: two steps of each log to MLflow, whose import takes over two seconds."""


def build_forked_executor(preloaded: list[str]) -> dg.ExecutorDefinition:
    """An executor whose steps are forks of a process that has imported the modules `preloaded`.

    A module that cannot be imported is left out; a step then imports what it needs by itself.
    """

    def forked(config: dict[str, Any]) -> dict[str, Any]:
        if "multiprocess" not in config:
            return config
        share_forkserver()
        start_method = {"forkserver": {"preload_modules": preloaded}}
        return {"multiprocess": {"start_method": start_method, **config["multiprocess"]}}

    return dg.multi_or_in_process_executor.configured(
        forked,
        config_schema=dg.multi_or_in_process_executor.config_schema.as_field(),
        name="multi_or_in_process_executor",
    )


def partitioned_executor(settings: Settings) -> dg.ExecutorDefinition | None:
    """Executor of jobs over partitions: Celery workers where a broker is set; None: the default."""
    if not settings.broker_url:
        return None
    from accident_reco.defs.workers import build_workers_executor

    return build_workers_executor(settings)


FORKED_STEPS: Final = build_forked_executor(PRELOADED)
FORKED_TRAINING: Final = build_forked_executor(PRELOADED_FOR_TRAINING)


def lower_priority(run: dg.DagsterRun | None) -> None:
    """Lower the priority of this process, if Dagster started it for a run that is not urgent.

    Servers and rollbacks then get the processor first. The code server, sensors and command lines are left alone.
    """
    if run is not None and not is_urgent(run) and multiprocessing.parent_process() is not None:
        os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))
