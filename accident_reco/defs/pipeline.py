"""Materializes what is missing, trains a model or ingests a range of partitions again, with progress on the terminal.

`accident-reco pipeline`, `train` and `backfill` start it (`python -m accident_reco.defs.pipeline`). It runs the
platform's own jobs in this process, on the Dagster instance of the home, so that the UI shows every run.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence

import dagster as dg

from accident_reco.contract import Model, Step
from accident_reco.definitions import defs, platform
from accident_reco.defs.drift_report import report_job, report_key
from accident_reco.defs.progress import run_step, show_progress
from accident_reco.defs.resources import Platform
from accident_reco.defs.run_workers import fail_lost_runs
from accident_reco.defs.training_loop import training_job
from accident_reco.lifecycle.promotion import sweep
from accident_reco.registry import get_model, models


def missing_steps(instance: dg.DagsterInstance, platform: Platform) -> Iterator[Step]:
    """Steps to run, in order; each is determined when the previous one is done."""
    chosen = models(platform.settings).values()
    # Of all models before the first step: a model may read data that the steps of another one complete.
    before = [model.training().data_version(platform) for model in chosen]
    for model, version in zip(chosen, before, strict=True):
        yield from _missing_steps(model, version, instance, platform)


def _missing_steps(model: Model, before: str, instance: dg.DagsterInstance, platform: Platform) -> Iterator[Step]:
    training = model.training()
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


def chosen_steps(options: argparse.Namespace, instance: dg.DagsterInstance, platform: Platform) -> Iterator[Step]:
    """Steps that the command line asks for; by default those that are missing.

    Raises:
        UnknownModelError: the model is not part of this installation.
        ValueError: the model has no partitions, or not these.
    """
    if options.train:
        yield Step(training_job(get_model(platform.settings, options.train).name), "requested on the command line")
    elif options.backfill:
        name, first, last = options.backfill
        steps = get_model(platform.settings, name).training().backfill_steps(first, last)
        if not steps:
            raise ValueError(f"{name} has no partitions of its own")
        yield from steps
    else:
        yield from missing_steps(instance, platform)


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring the instance up to date, then run the steps. Exit code 1 and one message on failure."""
    parser = argparse.ArgumentParser(prog="python -m accident_reco.defs.pipeline", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--train", metavar="MODEL", help="train this model")
    what.add_argument("--backfill", nargs=3, metavar=("MODEL", "FIRST", "LAST"), help="ingest these partitions again")
    options = parser.parse_args(arguments)
    done = 0
    with dg.DagsterInstance.get() as instance, show_progress() as progress:
        with contextlib.redirect_stdout(sys.stderr):  # SQLite's storage prints the files it upgrades
            instance.upgrade()
        for run_id in fail_lost_runs(instance):
            progress.line(f"run {run_id[:8]} was killed with the platform; it is marked as failed")
        try:
            for name in platform.settings.model_names:  # complete pointer moves of a start that was killed
                sweep(platform.models, platform.warehouse, name)
            definitions = defs()
            for step in chosen_steps(options, instance, platform):
                run_step(definitions, instance, step, progress)
                done += 1
        except Exception as error:  # any error of a step becomes one message
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
