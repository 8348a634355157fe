"""A code location with the real rollback beside trainings that last until the test lets them end."""

import os
from pathlib import Path

import dagster as dg

from accident_reco.defs import rollback
from accident_reco.defs.resources import Platform

GATE = "QUEUE_TEST_GATE"
platform = Platform()


@dg.op
def train(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Tells its priority, then waits at a named pipe for one byte."""
    context.log.info("nice %d", os.getpriority(os.PRIO_PROCESS, 0))
    with Path(os.environ[GATE]).open("rb", buffering=0) as gate:
        gate.read(1)


@dg.job(executor_def=dg.in_process_executor)
def training() -> None:
    """One op."""
    train()


@dg.definitions
def defs() -> dg.Definitions:
    """The job, and the rollback with its sensors."""
    jobs = dg.Definitions(jobs=[training], resources={"platform": platform})
    return dg.Definitions.merge(jobs, rollback.definitions(["accidents", "movies"], platform.settings))
