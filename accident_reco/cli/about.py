"""Commands about the program itself: its version, and the measurements of a checkout."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from itertools import takewhile
from typing import Annotated

import typer

from accident_reco.cli.command import AsJson, command
from accident_reco.cli.output import Table, show
from accident_reco.launch.processes import LaunchError

commands = typer.Typer()
PANEL = "About"
BENCHES = "accident_reco_tests.bench"


@command(commands, "accident-reco version", "accident-reco version --json", panel=PANEL)
def version(as_json: AsJson = False) -> None:
    """Show the versions of the package, Python, Dagster and the installed models."""
    from accident_reco.settings.plugins import installed_names

    document = {
        "accident-reco": installed_version("accident-reco"),
        "python": platform.python_version(),
        "dagster": installed_version("dagster"),
        "models": " ".join(installed_names()),
    }
    show(document, as_json, Table("version", ("part", "version"), list(document.items())))


@command(commands, "accident-reco bench", "accident-reco bench predict memory", panel=PANEL)
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="Measurements; by default all that `make bench` runs.")
    ] = None,
) -> None:
    """Measure speed and memory. Only in a checkout: the measurements are part of its tests.

    Words after a single measurement are its own arguments.
    """
    known = _known_benches()
    words = list(names or known)
    chosen = list(takewhile(known.__contains__, words))
    arguments = words[len(chosen) :]
    if len(chosen) != 1 and arguments:
        raise typer.BadParameter(f"there is no {arguments[0]}; measurements are {', '.join(known)}")
    for name in chosen:
        command_line = [sys.executable, "-m", f"{BENCHES}.{name}", *arguments]
        if code := subprocess.run(command_line, check=False).returncode:
            raise LaunchError(f"the measurement {name} failed with exit code {code}")


def _known_benches() -> tuple[str, ...]:
    """Names of the measurements, in order.

    Raises:
        LaunchError: this is no checkout.
    """
    if find_spec(BENCHES.partition(".")[0]) is None:
        raise LaunchError("measurements are part of the checkout, not of the installed package; run this in a checkout")
    from importlib import import_module

    known: tuple[str, ...] = import_module(BENCHES).NAMES
    return known
