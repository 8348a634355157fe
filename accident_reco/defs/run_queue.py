"""Which runs wait for their turn: all but urgent ones. dagster.yaml and the chart's values name this class.

Every Dagster process that starts runs imports it; it imports Dagster only.
"""

from __future__ import annotations

from typing import Any, Final

import dagster as dg
from dagster import DagsterRun, DagsterRunStatus
from dagster._core.run_coordinator import SubmitRunContext

URGENT: Final = {"accident_reco/urgent": "true"}
"""Tag of jobs that wait for nothing."""


def is_urgent(run: DagsterRun) -> bool:
    """Whether a run has the tag."""
    return run.tags.items() >= URGENT.items()


class RunQueue(dg.QueuedRunCoordinator[Any]):
    """Dagster's queue with its limits. A run with the tag `URGENT` starts at once, where it was asked for: behind no
    training, and with the daemon away.
    """

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Queue the run, or launch it."""
        run = context.dagster_run
        if not is_urgent(run) or run.status != DagsterRunStatus.NOT_STARTED:
            return super().submit_run(context)
        return self._instance.launch_run(run.run_id, context.workspace)
