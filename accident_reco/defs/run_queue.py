"""Run coordinator: queues every run but urgent ones. dagster.yaml and the Helm chart's values name this class.

Every Dagster process that starts runs imports it; it imports Dagster only.
"""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster import DagsterRun, DagsterRunStatus

from accident_reco.defs.tags import URGENT


def is_urgent(run: DagsterRun) -> bool:
    """Whether a run has the tag `URGENT`."""
    return run.tags.items() >= URGENT.items()


class RunQueue(dg.QueuedRunCoordinator[Any]):
    """Dagster's queue with its limits; a run with the tag `URGENT` is launched by the process that submits it.

    It waits for no training, and starts while the daemon is away.
    """

    def submit_run(self, context: dg.SubmitRunContext) -> DagsterRun:
        """Queue the run, or launch it if it is urgent; returns the run."""
        run = context.dagster_run
        if not is_urgent(run) or run.status != DagsterRunStatus.NOT_STARTED:
            self._limit_pools(run)
            return super().submit_run(context)
        return self._instance.launch_run(run.run_id, context.workspace)

    def _limit_pools(self, run: DagsterRun) -> None:
        """Give pools that no run was in before the default limit.

        The daemon does so too late: the first two runs of a new pool would start together.
        """
        pools = run.run_op_concurrency.all_pools if run.run_op_concurrency else None
        if pools:
            storage = self._instance.event_log_storage
            for pool in pools - storage.get_concurrency_keys():  # a limit that an operator has set stays
                storage.initialize_concurrency_limit_to_default(pool)
