"""Commands on a home: its state, logs, end, reset and diagnosis."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from accident_reco.cli.command import AsJson, ExitCode, command, load_settings, open_warehouse
from accident_reco.cli.output import Table, format_time, note, print_line, show, spinner
from accident_reco.launch.processes import LaunchError
from accident_reco.settings import Settings

commands = typer.Typer()
PANEL = "Operate"


@command(commands, "accident-reco status", "accident-reco status --json | jq .models", panel=PANEL)
def status(
    runs: Annotated[int, typer.Option(min=0, max=1000, help="Number of latest runs.")] = 10, as_json: AsJson = False
) -> None:
    """Show services, processes and their restarts, models, latest runs and open requests.

    Exit code 0 if every service of the running platform is ready and no process was given up, else 4.
    """
    from accident_reco.defs.recent_runs import recent_runs
    from accident_reco.launch.running import find_running
    from accident_reco.launch.status import processes, production_models, services

    settings = load_settings()
    running = find_running(settings.home)
    document: dict[str, Any] = {
        "home": str(settings.home),
        "running": None if running is None else vars(running),
        "services": services(settings, running),
        "processes": processes(settings.home),
        "models": production_models(settings),
        "runs": recent_runs(settings.dagster_home, runs),
        "requests": _requests(settings),
    }
    if not as_json:
        what = "nothing runs" if running is None else f"{running.kind} since {running.since}, process {running.pid}"
        print_line(f"home\t{settings.home}\t{what}")
    show(document, as_json, *_status_tables(document))
    healthy = all(service["ready"] for service in document["services"])
    healthy &= all(process["state"] != "given up" for process in document["processes"])
    if running is None or not running.has_services or not healthy:
        raise typer.Exit(ExitCode.NEGATIVE)


def _requests(settings: Settings) -> list[dict[str, Any]]:
    from accident_reco.launch.status import requests_in_progress

    try:
        warehouse = open_warehouse(settings)
    except LaunchError:
        return []  # never started
    try:
        return requests_in_progress(warehouse)
    finally:
        warehouse.close()


def _status_tables(document: dict[str, Any]) -> list[Table]:
    services = [(row["name"], row["url"], "ready" if row["ready"] else "not ready") for row in document["services"]]
    processes = [
        (row["name"], row["state"], row["restarts"], format_time(row["ended_at"]), row["reason"])
        for row in document["processes"]
    ]
    models = [
        (
            row["name"],
            row["version"] or "none",
            row["data_source"],
            format_time(row["promoted_at"]),
            row["problem"] or "  ".join(f"{name} {value:.3f}" for name, value in row["metrics"].items()),
        )
        for row in document["models"]
    ]
    runs = [
        (row["id"][:8], row["job"], row["status"], format_time(row["started_at"]), format_time(row["ended_at"]))
        for row in document["runs"]
    ]
    requests = [
        (row["id"][:8], row["kind"], row["model"], row["status"], row["requested_by"], row["reason"])
        for row in document["requests"]
    ]
    return [
        Table("service", ("name", "url", "state"), services, "nothing runs"),
        Table("process", ("name", "state", "restarts", "ended at (UTC)", "reason"), processes, "nothing runs"),
        Table("model", ("name", "version", "data", "promoted at (UTC)", "metrics"), models),
        Table("run", ("id", "job", "status", "started (UTC)", "ended (UTC)"), runs),
        Table("request", ("id", "kind", "model", "status", "requested by", "reason"), requests),
    ]


@command(commands, "accident-reco logs predict -n 100", "accident-reco logs --follow", panel=PANEL)
def logs(
    service: Annotated[str | None, typer.Argument(help="Process, such as predict; by default all.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines of each log.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines until Ctrl-C.")] = False,
) -> None:
    """Print the logs of the platform's processes."""
    from accident_reco.launch.logs import follow_logs, read_last_lines, select_logs

    chosen = select_logs(Settings.load().logs, service)
    positions = {}
    for path in chosen:
        last, positions[path] = read_last_lines(path, lines)
        for line in last:
            print_line(line if service else f"{path.stem:<12} | {line}")
    if follow:
        for path, line in follow_logs(positions):
            print_line(line if service else f"{path.stem:<12} | {line}")


@command(commands, "accident-reco stop", panel=PANEL)
def stop() -> None:
    """Stop what runs in the home (platform, stack or pipeline), and wait for its end.

    Exit code 0 if it ended, 4 if nothing ran.
    """
    from accident_reco.launch.running import stop_running

    home = Settings.load().home
    with spinner("stopping …"):
        stopped = stop_running(home)
    if stopped is None:
        note(f"nothing runs in {home}")
        raise typer.Exit(ExitCode.NEGATIVE)
    print_line(f"stopped the {stopped.kind} of {home}, process {stopped.pid}")


@command(commands, "accident-reco reset", "accident-reco reset --yes", panel=PANEL)
def reset(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete everything in the home: data, versions, runs, accounts and keys. Asks first.

    Databases and stores outside of the home stay as they are.
    """
    from accident_reco.launch.reset import external_parts, remove_home, require_removable

    settings = Settings.load()
    size = require_removable(settings)
    for part in external_parts(settings):
        note(f"stays: {part}")
    if not yes:
        typer.confirm(f"Delete {settings.home} ({size / 2**20:,.0f} MiB) for good?", abort=True, err=True)
    remove_home(settings)
    print_line(f"deleted {settings.home}")


@command(commands, "accident-reco doctor", "accident-reco doctor --stack --json", panel=PANEL)
def doctor(
    stack: Annotated[bool, typer.Option("--stack", help="Check the programs of `accident-reco stack` too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check Python, settings, models, home, disk, ports, warehouse and store; say what to do about each problem.

    Exit code 0 without a problem, else 4. Changes nothing.
    """
    from accident_reco.launch.doctor import examine

    findings = examine(stack)
    rows = [(found.check, found.state, found.text, found.fix) for found in findings]
    show([vars(found) for found in findings], as_json, Table("check", ("check", "state", "found", "fix"), rows))
    if any(found.state == "problem" for found in findings):
        raise typer.Exit(ExitCode.NEGATIVE)
