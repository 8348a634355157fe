"""The application: every command in one place, and the entry point of the console script."""

from __future__ import annotations

import typer

from accident_reco.cli import about, accounts, files, models, operate, start
from accident_reco.cli.command import EXIT_CODES
from accident_reco.launch.signals import stop_on_signals

app = typer.Typer(
    name="accident-reco",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)


@app.callback()
def accident_reco() -> None:
    """An ML platform on Dagster: ingestion, training, gate, serving, drift and retraining in one closed loop.

    Settings are environment variables; all data is in the directory `ACCIDENT_RECO_HOME`.
    """


for _group in (start, operate, models, accounts, files, about):
    app.add_typer(_group.commands)


def main() -> None:
    """Run the command of this process's arguments."""
    stop_on_signals()
    app()
