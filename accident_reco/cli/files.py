"""Commands on files: what a folder holds before it is ingested, backup and restore."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from accident_reco.cli.command import AsJson, ExitCode, command, complete_model, load_settings
from accident_reco.cli.output import Table, note, print_json, print_line, progress, show, spinner
from accident_reco.settings import Settings

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


BackupName = Annotated[str | None, typer.Option("--name", help="Name of the backup; by default the latest.")]
BackupDirectory = Annotated[Path, typer.Argument(help="Directory of backups.")]


@command(
    commands,
    "accident-reco backup /backups",
    "accident-reco backup /backups --verify --keep 7",
    "accident-reco backup /backups --also s3://mlflow/artifacts",
    panel=PANEL,
)
def backup(
    directory: Annotated[Path, typer.Argument(help="Directory of backups; a new one is created.")],
    check: Annotated[bool, typer.Option("--verify", help="Restore it beside afterwards, and compare.")] = False,
    keep: Annotated[int | None, typer.Option(min=1, help="Remove all but this number of latest backups.")] = None,
    also: Annotated[
        list[str] | None, typer.Option(help="URL of a further store to save; repeat it for several.")
    ] = None,
    keys: Annotated[bool, typer.Option(help="Save the generated keys and passwords of the home.")] = True,
    as_json: AsJson = False,
) -> None:
    """Save databases, objects, MLflow's artifacts, DVC's repository and keys; the platform may run meanwhile.

    Contents that the directory holds already are not written again. A stack that does not run is started for it. Exit
    code 0 if it was saved, 1 if not or if there is nothing to save, 4 if the verification found a difference.
    """
    from accident_reco.launch.backup import save, summarise
    from accident_reco.launch.backup_repository import Repository

    folder = directory.resolve()
    with _installation() as settings, progress("saving …") as report:
        made, new = save(settings, folder, also=also or [], with_keys=keys, report=report)
    document = {
        "name": made.name,
        "kind": made.kind,
        "files": len(made.files),
        "bytes": made.size,
        "new_bytes": new,
        "champions": made.champions,
        "left_out": made.left_out,
    }
    if as_json:
        print_json(document)
    else:
        print_line(f"{summarise(made, 'saved')}, {new / 2**20:,.1f} MiB of it new")
        for what, why in made.left_out.items():
            print_line(f"left out: {what}: {why}")
    if check:
        _verify(folder, made.name, quiet=as_json)
    if keep is not None:
        repository = Repository(folder)
        with repository.writing():
            for name in repository.remove_all_but(keep):
                note(f"removed {name}")


@command(
    commands,
    "accident-reco verify /backups",
    "accident-reco verify /backups --name 20261127T180000.000000Z",
    panel=PANEL,
)
def verify(directory: BackupDirectory, name: BackupName = None) -> None:
    """Restore a backup beside, into temporary directories and databases, and compare. Needs no installation.

    Exit code 0 if everything is as it was saved, 4 if something differs, 1 without a backup.
    """
    _verify(directory.resolve(), name)


@command(
    commands,
    "ACCIDENT_RECO_HOME=/srv/new accident-reco restore /backups",
    "accident-reco restore /backups --name 20261127T180000.000000Z",
    panel=PANEL,
)
def restore(directory: BackupDirectory, name: BackupName = None) -> None:
    """Restore a backup into an empty installation. The servers of a stack are started for it, and stopped.

    Exit code 0 if it was restored, 1 if the backup is damaged or the installation not empty.
    """
    from accident_reco.launch.backup import summarise
    from accident_reco.launch.restore import restore as restore_backup

    with progress("restoring …") as report:
        restored = restore_backup(load_settings(), directory.resolve(), name, report=report)
    print_line(summarise(restored, "restored"))
    print_line(f"start it: accident-reco {'stack' if restored.kind == 'stack' else 'up'}")


@contextmanager
def _installation() -> Iterator[Settings]:
    """Settings of the home, with a stack's databases and stores; those of a stack that does not run are started."""
    from accident_reco.launch.running import recorded_stack

    settings = load_settings()
    if settings.database_url or not recorded_stack(settings.home):
        yield settings
        return
    from accident_reco.launch.stack import storage_of_home

    with storage_of_home(settings, dict(os.environ)) as variables:
        os.environ.update(variables)
        yield Settings.load()


def _verify(folder: Path, name: str | None, quiet: bool = False) -> None:
    from accident_reco.launch.restore import verify as verify_backup

    with progress("verifying …") as report:
        differences = verify_backup(folder, name, report=report)
    for difference in differences:
        note(difference)
    if differences:
        raise typer.Exit(ExitCode.NEGATIVE)
    if not quiet:
        print_line("verified: restored beside, and everything is as it was saved")
