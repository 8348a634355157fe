"""Run launcher with a health check of the run's process, for Dagster's run monitoring. dagster.yaml names this class.

Dagster's own default launcher has none, so that a run whose process was killed with the code server stays STARTED until
its maximum runtime. The chart's launcher for Kubernetes has one, by pods.
"""

from __future__ import annotations

import dagster as dg

from accident_reco.defs.dagster_internals import CheckRunHealthResult, WorkerStatus
from accident_reco.defs.run_workers import LOST, is_worker_alive


class RunLauncher(dg.DefaultRunLauncher):
    """Dagster's default launcher, with a health check of the run's process."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether `check_run_worker_health` may be called."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """FAILED where the process is gone; RUNNING where it lives or cannot be found out."""
        if is_worker_alive(self._instance, run) is False:
            return CheckRunHealthResult(WorkerStatus.FAILED, LOST)
        return CheckRunHealthResult(WorkerStatus.RUNNING)
