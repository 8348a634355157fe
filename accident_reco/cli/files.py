"""Commands on files: what a folder holds before it is ingested, backup and restore."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from accident_reco.cli.command import AsJson, ExitCode, command, complete_model, load_settings
from accident_reco.cli.output import Table, note, print_line, show, spinner

commands = typer.Typer()
PANEL = "Files"


@command(commands, "accident-reco inspect ~/downloads", "accident-reco inspect ~/downloads --json", panel=PANEL)
def inspect(
    path: Annotated[Path, typer.Argument(exists=True, help="Folder of published files, or one file.")],
    model: Annotated[
        str | None, typer.Option(help="Only what this model reads.", autocompletion=complete_model)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each model would read from files, and what it would reject and why. Ingests nothing.

    Exit code 0 if every file can be read, 4 if one cannot, 1 if no model recognises any.
    """
    from accident_reco.registry import get_model, models

    settings = load_settings()
    chosen = models(settings) if model is None else {model: get_model(settings, model)}
    with spinner(f"reading {path} …"):
        found = {name: plugin.inspect_files(path) for name, plugin in chosen.items()}
    rows = [
        (
            report.file,
            name,
            report.content,
            report.layout,
            report.rows,
            report.problem or "; ".join(f"{count} rows: {why}" for why, count in report.rejected.items()),
        )
        for name, reports in found.items()
        for report in reports
    ]
    document = {name: [asdict(report) for report in reports] for name, reports in found.items()}
    columns = ("file", "model", "content", "layout", "rows", "rejected")
    show(document, as_json, Table("file", columns, rows))
    if not rows:
        note(f"no model recognises a file in {path}")
        raise typer.Exit(ExitCode.FAILED)
    if any(report.problem for reports in found.values() for report in reports):
        raise typer.Exit(ExitCode.NEGATIVE)


@command(commands, "accident-reco official --check", "accident-reco official --check --json", panel=PANEL)
def official(
    check: Annotated[
        bool, typer.Option("--check", help="Compare the publishers' answers with what this release expects.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Only the publisher of this model's data.", autocompletion=complete_model)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare what publishers answer today with what this release expects. Needs internet access, stores nothing.

    Fetches listings, checksums and the newest files of each model. Exit code 0 if nothing differs that an ingestion
    needs, 4 if something does.
    """
    from accident_reco.registry import get_model, models

    if not check:
        raise typer.BadParameter("there is one thing to do: accident-reco official --check")
    settings = load_settings()
    chosen = models(settings) if model is None else {model: get_model(settings, model)}
    with spinner("asking the publishers …"):
        found = [(name, outcome) for name, plugin in chosen.items() for outcome in plugin.check_official(settings)]
    rows = [
        (name, outcome.name, "ok" if outcome.passed else "warning" if outcome.warn else "differs", outcome.reason)
        for name, outcome in found
    ]
    document = [{"model": name, **asdict(outcome)} for name, outcome in found]
    show(document, as_json, Table("check", ("model", "check", "state", "found"), rows))
    if any(not (outcome.passed or outcome.warn) for _, outcome in found):
        raise typer.Exit(ExitCode.NEGATIVE)


@command(commands, "accident-reco backup /backups/2026-11-27", panel=PANEL)
def backup(directory: Annotated[Path, typer.Argument(help="New directory for the backup.")]) -> None:
    """Back up databases and objects; the platform may run meanwhile."""
    from accident_reco.launch.backup import save

    with spinner("saving …"):
        summary = save(load_settings(), directory.resolve())
    print_line(summary)


@command(commands, "ACCIDENT_RECO_HOME=/srv/new accident-reco restore /backups/2026-11-27", panel=PANEL)
def restore(directory: Annotated[Path, typer.Argument(help="Directory of a backup.")]) -> None:
    """Restore a backup into an empty installation."""
    from accident_reco.launch.backup import restore as restore_backup

    with spinner("restoring …"):
        summary = restore_backup(load_settings(), directory.resolve())
    print_line(summary)
