"""Commands on one model: train, ingest again, score a file, check for drift, roll back."""

from __future__ import annotations

import os
import re
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from accident_reco.cli.command import (
    AsJson,
    ExitCode,
    ModelName,
    command,
    complete_model,
    load_settings,
    open_warehouse,
    operator,
)
from accident_reco.cli.output import Table, note, print_json, print_line, reading_bar, show, spinner
from accident_reco.contract import Model
from accident_reco.settings import Settings

commands = typer.Typer()
PANEL = "Models"
_RANGE = re.compile(r"([0-9A-Za-z_]+)(?:-([0-9A-Za-z_]+))?")


@command(commands, "accident-reco train {model}", "accident-reco train {model} --no-wait --json", panel=PANEL)
def train(
    model: ModelName,
    wait: Annotated[bool, typer.Option(help="Wait for the end of a training of the running platform.")] = True,
    as_json: AsJson = False,
) -> None:
    """Train a model and let the gate decide.

    Where the platform runs, the training is requested from it and awaited; otherwise it runs in this terminal.
    Exit code 0 if the candidate was promoted, 4 if the gate rejected it.
    """
    from accident_reco.launch.running import find_running
    from accident_reco.launch.training import await_request, request_training, train_here

    settings = load_settings()
    _get_model(settings, model)
    running = find_running(settings.home)
    if running is None or not running.has_services:
        outcome = train_here(settings, dict(os.environ), model, echo=not as_json)
    else:
        request = request_training(settings, model, operator())
        if not wait:
            show(request, as_json, Table("request", ("id", "status"), [(request["id"], request["status"])]))
            return
        note(f"request {request['id']}; it continues if this command is interrupted")
        with spinner(f"training {model} …"):
            outcome = await_request(settings, request["id"], note)
    if as_json:
        print_json(vars(outcome))
    else:
        print_line(f"{model}: {outcome.status}: {outcome.reason}")
    codes = {"promoted": ExitCode.DONE, "refused": ExitCode.NEGATIVE}
    if code := codes.get(outcome.status, ExitCode.FAILED):
        raise typer.Exit(code)


@command(commands, "accident-reco backfill {model} --years 2019-2021", panel=PANEL)
def backfill(
    model: ModelName,
    partitions: Annotated[
        str, typer.Option("--partitions", "--years", metavar="FIRST-LAST", help="Range of partitions, or one.")
    ],
) -> None:
    """Ingest a range of partitions again, such as years, and load them into the warehouse."""
    from accident_reco.launch.home import prepare_home
    from accident_reco.launch.platform import run_pipeline

    match = _RANGE.fullmatch(partitions)
    if match is None:
        raise typer.BadParameter(f"{partitions!r} is no range FIRST-LAST", param_hint="--partitions")
    first, last = match.group(1), match.group(2) or match.group(1)
    settings = load_settings()
    _get_model(settings, model)
    prepare_home(settings)
    run_pipeline(settings, dict(os.environ), "--backfill", model, first, last)


@command(
    commands,
    "accident-reco score people.csv > scored.csv",
    "zcat people.csv.gz | accident-reco score - --output scored.csv",
    panel=PANEL,
)
def score(
    file: Annotated[str, typer.Argument(metavar="FILE.csv", help="CSV with a header; `-` reads the standard input.")],
    model: Annotated[
        str | None,
        typer.Option(help="Model; by default the only one that scores files.", autocompletion=complete_model),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write here instead of the standard output.")] = None,
) -> None:
    """Score a whole CSV file with the production model, in this process and in constant memory."""
    from accident_reco.launch.scoring import load_champion, select_scoring_model

    settings = load_settings()
    plugin = select_scoring_model(settings, model)
    version, manifest = load_champion(settings, plugin)
    note(f"{plugin.name} {manifest.version}, trained on {manifest.data_source} data")
    with ExitStack() as stack:
        source: BinaryIO = sys.stdin.buffer if file == "-" else stack.enter_context(Path(file).open("rb"))
        size = None if file == "-" else Path(file).stat().st_size
        target: BinaryIO = stack.enter_context(output.open("wb")) if output else sys.stdout.buffer
        watched = stack.enter_context(reading_bar(source, size, f"scoring {file}"))
        try:
            for chunk in plugin.serving().score_csv(version, watched):
                target.write(chunk)
        except ValueError as error:
            note(f"{file}: {error}")
            raise typer.Exit(ExitCode.FAILED) from None
        target.flush()


@command(
    commands,
    "accident-reco drift {model}",
    "accident-reco drift {model} --year 2023 --against 2019 --json",
    panel=PANEL,
)
def drift(
    model: ModelName,
    partition: Annotated[
        int | None, typer.Option("--partition", "--year", help="Stored partition to check instead of live data.")
    ] = None,
    against: Annotated[
        int | None, typer.Option(help="Partition to compare with instead of the champion's reference.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the latest window (or a stored partition) for drift now, and record the report.

    The retrain policy does not count it as a window. Exit code 0 without drift, 4 with drift or insufficient data.
    """
    from accident_reco.drift.run_check import CheckRequest, run_check
    from accident_reco.lifecycle.platform import OpenedPlatform

    if against is not None and partition is None:
        raise typer.BadParameter("--against needs --partition", param_hint="--against")
    settings = load_settings()
    plugin = _get_model(settings, model)
    request = CheckRequest(partition, against, requested_by_api=True)
    with closing(open_warehouse(settings)) as warehouse, spinner("comparing …"):
        row = run_check(plugin, OpenedPlatform(settings, warehouse), request, "cli").row
    fields = ("id", "model", "version", "data_source", "window_name", "status", "reason", "rows", "drifted_share")
    document = {name: row[name] for name in fields} | {"html_report": row["report_key"]}
    shown = [(name, value) for name, value in document.items()]
    show(document, as_json, Table("drift", ("field", "value"), shown))
    if row["status"] not in ("stable", "warning"):
        raise typer.Exit(ExitCode.NEGATIVE)


@command(
    commands,
    "accident-reco rollback {model} --reason 'complaints from the field'",
    "accident-reco rollback {model} --to 0123456789abcdef --reason 'last known good'",
    panel=PANEL,
)
def rollback(
    model: ModelName,
    reason: Annotated[str, typer.Option(help="Reason, recorded in the audit.")],
    version: Annotated[
        str | None,
        typer.Option("--to", metavar="VERSION", help="By default the latest one that was not rolled back itself."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make an older version the champion; the replaced one is blocked from promotion.

    Every predict process follows within a second. Exit code 0 if it serves, 1 if nothing moved, 3 if the move was
    recorded and interrupted: the running platform completes it.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from accident_reco.lifecycle.intents import first_line
    from accident_reco.lifecycle.rollback import roll_back
    from accident_reco.lifecycle.store import ModelStore
    from accident_reco.storage.objects import open_store

    if not 3 <= len(reason) <= 500:
        raise typer.BadParameter("a reason has 3 to 500 characters", param_hint="--reason")
    settings = load_settings()
    _get_model(settings, model)
    with closing(open_warehouse(settings)) as warehouse:
        try:
            outcome = roll_back(
                ModelStore(open_store(settings.store)),
                warehouse,
                model,
                version=version,
                requested_by=operator(),
                run_id="cli",
                reason=reason,
            )
        except SQLAlchemyError as error:
            address = warehouse.url.render_as_string(hide_password=True)
            note(f"nothing moved: the warehouse {address} failed: {first_line(error)}")
            raise typer.Exit(ExitCode.FAILED) from None
        except ValueError as error:  # a stored file differs from the published one
            note(str(error))
            raise typer.Exit(ExitCode.FAILED) from None
    decision = outcome.decision
    document: dict[str, Any] = {"model": model, "version": outcome.version, "moved": decision.promote}
    if as_json:
        print_json(document | {"reason": decision.reason})
    else:
        print_line(decision.reason)
    if not decision.promote:
        raise typer.Exit(ExitCode.FAILED)


def _get_model(settings: Settings, name: str) -> Model:
    from accident_reco.registry import get_model

    return get_model(settings, name)
