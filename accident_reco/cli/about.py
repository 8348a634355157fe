"""Commands about the program itself: its version, and the comparisons of a checkout."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from accident_reco.cli.command import AsJson, command
from accident_reco.cli.output import Table, show
from accident_reco.launch.processes import LaunchError
from accident_reco.launch.signals import Stopped

commands = typer.Typer()
PANEL = "About"
BENCH = "accident_reco_tests.bench"


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


@command(
    commands,
    "accident-reco bench",
    "accident-reco bench --only noop --only servers --rounds 7",
    "accident-reco bench --only drift --scale 0.1 --json",
    "accident-reco bench --out docs/pages/results/benchmarks",
    panel=PANEL,
)
def bench(
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="A comparison; repeat it for several.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each side; ratios are medians over them.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of a turn under load, in seconds.")] = 2.0,
    scale: Annotated[
        float, typer.Option(min=0.001, max=1, help="Share of the full amount of data and trees, for a trial.")
    ] = 1.0,
    out: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            metavar="DIRECTORY",
            help="Write a table (Markdown), every turn (JSON) and a plot (SVG); others of a report there stay.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare speed and memory with peers, both sides in turns. Only in a checkout, whose tests contain the programs.

    Comparisons: `noop` (one record against an HTTP endpoint that does nothing), `servers` (MLServer, LitServe, BentoML,
    mlflow with the same model file), `predict` (explanations, 1,000 records, memory), `workers` (two against one),
    `log` (with and without the prediction log), `shadow` (with and without a shadow), `allocator` (settings of glibc),
    `recommend` (Surprise, implicit), `drift` (Evidently, NannyML), `features` (pandas), `load` (COPY, sqlite3),
    `training` (through Dagster against bare fits).

    Peers that are no dependencies are installed by uv into environments of their own in
    `$ACCIDENT_RECO_HOME/cache/bench-peers`; the table states which ones could not be installed. Exit code 1: a
    comparison failed; 4: all ran, and a goal is missed.
    """
    if find_spec(BENCH.partition(".")[0]) is None:
        raise LaunchError("comparisons are part of the checkout, not of the installed package; run this in a checkout")
    from accident_reco.settings import Settings

    Settings.load()
    known = _known_comparisons()
    if unknown := [name for name in only or () if name not in known]:
        raise typer.BadParameter(f"there is no {unknown[0]}; comparisons are {', '.join(known)}")
    arguments = [
        f"--rounds={rounds}",
        f"--seconds={seconds}",
        f"--scale={scale}",
        *(f"--only={name}" for name in only or ()),
    ]
    arguments += [f"--out={out}"] * (out is not None) + ["--json"] * as_json
    with subprocess.Popen([sys.executable, "-m", BENCH, *arguments]) as process:
        try:
            code = process.wait()
        except Stopped:
            process.terminate()  # it ends the servers that it has started
            process.wait()
            raise
    if code:
        raise typer.Exit(code if code > 0 else 128 - code)


def _known_comparisons() -> tuple[str, ...]:
    """Names of the comparisons, in the order in which they run."""
    from importlib import import_module

    return tuple(import_module(f"{BENCH}.comparisons").COMPARISONS)
