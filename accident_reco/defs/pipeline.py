"""Materializes what is missing, trains a model or ingests a range of partitions again, with progress on the terminal.

`accident-reco up`, `pipeline`, `train` and `backfill` start it (`python -m accident_reco.defs.pipeline`), beside a code
server. It launches the platform's own jobs there; models that do not depend on each other are brought up to date side
by side.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dagster as dg

from accident_reco.contract import Model, Step
from accident_reco.definitions import defs, platform
from accident_reco.defs.drift_report import report_job, report_key
from accident_reco.defs.launching import FollowedRun, Launcher, open_location
from accident_reco.defs.progress import show_progress
from accident_reco.defs.resources import Platform
from accident_reco.defs.run_workers import fail_lost_runs
from accident_reco.defs.training_loop import training_job
from accident_reco.lifecycle.promotion import sweep
from accident_reco.registry import get_model, models

MAX_RUNS: Final = 2
"""Runs at a time, as in dagster.yaml."""
POLL_SECONDS: Final = 0.4
REQUESTED: Final = "requested on the command line"


def _missing_steps(model: Model, before: str, instance: dg.DagsterInstance, platform: Platform) -> Iterator[Step]:
    training = model.training()
    training.register_partitions(instance, platform)
    yield from training.missing_data(instance, platform)
    why = _training_reason(model, platform)
    if why is None and training.data_version(platform) != before:
        why = "new data was ingested"
    if why is not None:
        yield Step(training_job(model.name), why)
    yield from training.missing_outputs(instance, platform)
    if not instance.get_latest_materialization_event(report_key(model.name)):
        yield Step(report_job(model.name), "no drift report yet")


def _training_reason(model: Model, platform: Platform) -> str | None:
    """Why a training is needed even without new data, or None."""
    champion = platform.models.champion(model.name)
    if champion is None:
        return "no version was promoted yet"
    trained_on = champion[1].data_source
    if trained_on == model.training().data_source(platform.settings):
        return None
    return f"the champion was trained on {trained_on} data"


@dataclass
class Chain:
    """Steps in order, each determined when the previous one is done.

    Args:
        name: its model.
        requires: chains that end before it starts.
    """

    name: str
    steps: Iterator[Step]
    requires: Sequence[str] = ()
    run: FollowedRun | None = None


def missing_chains(instance: dg.DagsterInstance, platform: Platform) -> list[Chain]:
    """One chain per model; a model that reads the data of others waits for theirs."""
    chosen = models(platform.settings).values()
    # Of all models before the first step: a model may read data that the steps of another one complete.
    before = [model.training().data_version(platform) for model in chosen]
    return [
        Chain(model.name, _missing_steps(model, version, instance, platform), model.requires)
        for model, version in zip(chosen, before, strict=True)
    ]


def requested_steps(options: argparse.Namespace, instance: dg.DagsterInstance, platform: Platform) -> Sequence[Step]:
    """Steps that the command line names.

    Raises:
        UnknownModelError: the model is not part of this installation.
        ValueError: the model has no partitions, or not these.
    """
    if options.train:
        return [Step(training_job(get_model(platform.settings, options.train).name), REQUESTED)]
    if options.job:
        for model in models(platform.settings).values():
            model.training().register_partitions(instance, platform)
        named = [(job, partition or None) for job, _, partition in (word.partition(":") for word in options.job)]
        return [Step(job, REQUESTED, partition, partition) for job, partition in named]
    name, first, last = options.backfill
    training = get_model(platform.settings, name).training()
    training.register_partitions(instance, platform)
    steps = training.backfill_steps(instance, first, last)
    if not steps:
        raise ValueError(f"{name} has no partitions of its own")
    return steps


def run_chains(chains: Sequence[Chain], start: Callable[[Step], FollowedRun], limit: int = MAX_RUNS) -> int:
    """Run chains side by side, at most `limit` at a time; returns the number of runs.

    After a failure no further run starts; those in progress are followed to their end.

    Raises:
        RuntimeError: one or more runs failed; the message has the cause of each.
    """
    waiting, started = list(chains), 0
    active: list[Chain] = []
    problems: list[str] = []
    while waiting or active:
        open_names = {chain.name for chain in (*waiting, *active)}
        ready = [chain for chain in waiting if not open_names.intersection(chain.requires)]
        for chain in ready[: limit - len(active)]:
            waiting.remove(chain)
            active.append(chain)
        for chain in list(active):
            try:
                if chain.run is not None and not chain.run.is_finished():
                    continue
                step = next(chain.steps, None)  # also after a failure: of two wrong sources both are named
                chain.run = None if step is None or problems else start(step)
                started += chain.run is not None
            except Exception as error:  # any error of a step becomes one message
                problems.append(root_cause(error))
                chain.run = None
            if chain.run is None:
                active.remove(chain)
        if problems:
            waiting.clear()
        if any(chain.run is not None for chain in active):
            time.sleep(POLL_SECONDS)
    if problems:
        raise RuntimeError("\n✘ ".join(problems))
    return started


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of the program."""
    parser = argparse.ArgumentParser(prog="python -m accident_reco.defs.pipeline", description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True, help="workspace file of the running code server")
    parser.add_argument("--queued", action="store_true", help="let the running daemon start the runs from its queue")
    parser.add_argument("--launched-by", help="command that launches, for Dagster's pages")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--train", metavar="MODEL", help="train this model")
    what.add_argument("--backfill", nargs=3, metavar=("MODEL", "FIRST", "LAST"), help="ingest these partitions again")
    what.add_argument("--job", nargs="+", metavar="NAME[:PARTITION]", help="run these jobs, one after the other")
    options = parser.parse_args(arguments)
    if options.launched_by is None:
        command = "train" if options.train else "backfill" if options.backfill else "pipeline"
        options.launched_by = f"accident-reco {command}"
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Complete what a killed platform left, then launch the runs. Exit code 1 and one message on failure."""
    options = parse_arguments(arguments)
    with dg.DagsterInstance.get() as instance, show_progress() as progress:
        for run_id in fail_lost_runs(instance):
            progress.line(f"run {run_id[:8]} was killed with the platform; it is marked as failed")
        try:
            for name in platform.settings.model_names:  # complete pointer moves of a start that was killed
                sweep(platform.models, platform.warehouse, name)
            if options.train or options.backfill or options.job:
                chains = [Chain("requested", iter(requested_steps(options, instance, platform)))]
            else:
                chains = missing_chains(instance, platform)
            with open_location(instance, options.workspace) as launch:
                launcher = Launcher(instance, defs(), launch, options.launched_by, options.queued, progress)
                done = run_chains(chains, launcher.start)
        except Exception as error:
            progress.line(f"✘ {root_cause(error)}")
            return 1
        if not done:
            progress.line("everything is materialized already")
    return 0


def root_cause(error: BaseException) -> str:
    """The innermost error of a failed step, as one message."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
