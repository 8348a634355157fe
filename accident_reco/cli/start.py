"""Commands that start something: the platform, its pipeline, its stack, its preparation, the demonstration."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from accident_reco.cli.command import AsJson, command, complete_model, explain, load_settings
from accident_reco.cli.output import print_json, print_line
from accident_reco.launch.signals import Stopped
from accident_reco.log_lines import report_crashes, report_failure
from accident_reco.settings import Settings

commands = typer.Typer()
PANEL = "Start"


@command(commands, "accident-reco up", "ACCIDENT_RECO_MODELS={model} accident-reco up", panel=PANEL)
def up() -> None:
    """Materialize what is missing, then run every service until Ctrl-C.

    `accident-reco stop` ends it from another terminal, with exit code 0 as SIGTERM does; after Ctrl-C it is 130.
    """
    from accident_reco.launch.home import prepare_home
    from accident_reco.launch.platform import run_platform

    started = time.monotonic()
    settings = Settings.load()
    prepare_home(settings)
    try:
        run_platform(settings, dict(os.environ), started)
    except Stopped as stopped:
        _end_orderly(stopped)


@command(commands, "accident-reco pipeline", "accident-reco pipeline --json", panel=PANEL)
def pipeline(as_json: AsJson = False) -> None:
    """Materialize what is missing, without servers."""
    from accident_reco.launch.home import prepare_home
    from accident_reco.launch.platform import run_pipeline, summary
    from accident_reco.launch.status import production_models

    settings = load_settings()
    prepare_home(settings)
    run_pipeline(settings, dict(os.environ), echo=not as_json)
    if as_json:
        print_json({"models": production_models(settings)})
    else:
        print_line(summary(settings))


@command(commands, "accident-reco stack", panel=PANEL)
def stack() -> None:
    """Run the platform on PostgreSQL, S3, MLflow, Prometheus and Alertmanager, which it starts too.

    The servers are native processes, without containers; `accident-reco doctor --stack` shows which are missing.
    """
    from accident_reco.launch.stack import run_stack

    try:
        run_stack(Settings.load(), dict(os.environ))
    except Stopped as stopped:
        _end_orderly(stopped)


@command(commands, "accident-reco prepare", panel=PANEL)
def prepare() -> None:
    """Create databases, schema, roles and the first admin, then exit. Safe to repeat.

    The admin's password is printed once, unless ACCIDENT_RECO_ADMIN_PASSWORD sets it. A failure is a JSON line where
    standard error is no terminal: the command is a container's program.
    """
    from accident_reco.launch.home import prepare_home
    from serving.auth.bootstrap import ensure_admin

    report_crashes("prepare")
    try:
        settings = load_settings()
        prepare_home(settings)
        password = ensure_admin(settings)
    except Exception as error:
        found = explain(error)
        if found is None:
            raise
        report_failure("prepare", found[1])
        raise typer.Exit(found[0]) from None
    print_line(f"admin password: {password}" if password else "prepared")


@command(commands, "accident-reco demo", "accident-reco demo --model {model} --home demo", panel=PANEL)
def demo(
    model: Annotated[
        str | None,
        typer.Option(help="Model to show; by default the first with a scenario.", autocompletion=complete_model),
    ] = None,
    home: Annotated[Path | None, typer.Option(help="Empty directory to work in; by default a temporary one.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Rows per period; by default the scenario's.")] = None,
) -> None:
    """Demonstrate the closed loop on sample data, in a home of its own.

    Drifted traffic leads to a report, a training, the gate and a new version; a worse candidate is rejected. Minutes.
    """
    from accident_reco.launch.demo import run_demo

    run_demo(Settings.load(), model, home, size)


def _end_orderly(stopped: Stopped) -> None:
    """Return after SIGTERM: a service that was stopped has done its work; Ctrl-C is reported to the shell."""
    if stopped.number != signal.SIGTERM:
        raise stopped
