"""A code location with the real rollback and trainings that wait for the test."""

import os
from pathlib import Path

import dagster as dg

from accident_reco.defs import rollback
from accident_reco.defs.resources import Platform

GATE = "QUEUE_TEST_GATE"
platform = Platform()


@dg.op
def train(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Log the priority, then wait for one byte of a named pipe."""
    context.log.info("nice %d", os.getpriority(os.PRIO_PROCESS, 0))
    with Path(os.environ[GATE]).open("rb", buffering=0) as gate:
        gate.read(1)


@dg.job(executor_def=dg.in_process_executor)
def training() -> None:
    """Runs `train`."""
    train()


@dg.op(pool="accidents_training")
def train_alone(platform: Platform) -> None:
    """Wait for one byte of the named pipe, in a pool."""
    with Path(os.environ[GATE]).open("rb", buffering=0) as gate:
        gate.read(1)


@dg.job(executor_def=dg.in_process_executor)
def pooled_training() -> None:
    """Runs `train_alone`."""
    train_alone()


@dg.definitions
def defs() -> dg.Definitions:
    """The training jobs, and the rollback with its sensors."""
    jobs = dg.Definitions(jobs=[training, pooled_training], resources={"platform": platform})
    return dg.Definitions.merge(jobs, rollback.definitions(["accidents", "movies"], platform.settings))
