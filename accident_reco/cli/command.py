"""What all commands share: class with examples and exit codes, settings, model names, the operator's name."""

from __future__ import annotations

import os
import pwd
import sqlite3
import sys
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from accident_reco.launch.processes import LaunchError
from accident_reco.launch.running import stack_variables
from accident_reco.launch.signals import Stopped
from accident_reco.settings import Settings, SettingsError
from accident_reco.settings.plugins import UnknownModelError, installed_names
from accident_reco.storage.objects import StoreError

if TYPE_CHECKING:
    from accident_reco.storage.warehouse import Warehouse

F = TypeVar("F", bound=Callable[..., Any])


class ExitCode(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    """A wrong command, argument or setting; nothing was done."""
    COMPLETED_LATER = 3
    """Recorded and interrupted; the running platform completes it."""
    NEGATIVE = 4
    """Done, with a negative result: candidate rejected, drift found, platform not running."""


EXIT_CODES = (
    "**Exit codes**: 0 done · 1 failed · 2 wrong command, argument or setting · 3 recorded, and completed later · "
    "4 done with a negative result (candidate rejected, drift, platform not running) · 130 Ctrl-C · 143 SIGTERM"
)
MODEL_PLACE = "{model}"
"""Stands for the name of an installed model in examples."""


class PlatformCommand(TyperCommand):
    """A command with examples in its help; expected errors are one message and an exit code."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Help with the examples as its last part."""
        name = next(iter(installed_names()), "MODEL")
        if self.epilog and MODEL_PLACE in self.epilog:
            self.epilog = self.epilog.replace(MODEL_PLACE, name)
        super().format_help(ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; raises typer.Exit for an expected error."""
        try:
            return super().invoke(ctx)
        except (Stopped, KeyboardInterrupt) as error:
            raise typer.Exit(error.exit_code if isinstance(error, Stopped) else 130) from None
        except BrokenPipeError:  # the reader of the pipe has ended, such as `head`
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None
        except Exception as error:
            found = explain(error)
            if found is None:
                raise
            code, message = found
            typer.echo(message, err=True)
            raise typer.Exit(code) from None


def explain(error: Exception) -> tuple[ExitCode, str] | None:
    """Exit code and message of an expected error; None for one that is a defect and needs its traceback."""
    if isinstance(error, SettingsError | UnknownModelError):
        return ExitCode.WRONG_USAGE, str(error)
    if isinstance(error, LaunchError | StoreError):
        return ExitCode.FAILED, str(error)
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError):
        return ExitCode.FAILED, f"{error.filename}: {error.strerror}"
    from sqlalchemy.exc import SQLAlchemyError

    from accident_reco.drift.run_check import NothingToCompare
    from accident_reco.lifecycle.intents import MoveInterrupted, first_line
    from accident_reco.lifecycle.store import NoSuchVersion
    from accident_reco.storage.warehouse import NewerSchema

    if isinstance(error, MoveInterrupted):
        return ExitCode.COMPLETED_LATER, str(error)
    if isinstance(error, NoSuchVersion | NothingToCompare | NewerSchema):
        return ExitCode.FAILED, first_line(error)
    if isinstance(error, SQLAlchemyError | sqlite3.Error):
        return ExitCode.FAILED, f"the warehouse failed: {first_line(error)}"
    return None


def command(group: typer.Typer, *examples: str, name: str | None = None, panel: str | None = None) -> Callable[[F], F]:
    """Register a function as a command.

    Args:
        examples: command lines that its help shows; `{model}` stands for an installed model.
        panel: heading of the command in the list of commands.
    """
    lines = [f"`{example}`" for example in examples]
    epilog = "\n\n".join(["**Examples**", *lines])
    return group.command(name=name, cls=PlatformCommand, epilog=epilog, rich_help_panel=panel)


def load_settings() -> Settings:
    """Settings of the environment, with the variables of a stack that runs in the home.

    Raises:
        SettingsError: one or more are wrong.
    """
    settings = Settings.load()
    added = {name: value for name, value in stack_variables(settings.home).items() if name not in os.environ}
    if not added:
        return settings
    os.environ.update(added)
    return Settings.load()


def open_warehouse(settings: Settings) -> Warehouse:
    """The warehouse of a home that was started before.

    Raises:
        LaunchError: there is no warehouse yet.
    """
    from accident_reco.storage.warehouse import Warehouse

    warehouse = Warehouse(settings.database)
    if warehouse.is_sqlite and not Path(warehouse.url.database or "").exists():
        fix = "fix: accident-reco up (or prepare), or set ACCIDENT_RECO_HOME"
        raise LaunchError(f"{settings.home} has no warehouse yet; {fix}")
    return warehouse


def operator() -> str:
    """Name of the operator in audit entries: of the process's user, not of a variable, which anyone may set."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an account
        name = f"user {os.getuid()}"
    return f"{name[:40]} (command line)"


def complete_model(incomplete: str) -> list[str]:
    """Names of installed models for the shell's completion."""
    return [name for name in installed_names() if name.startswith(incomplete)]


ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Model name.", autocompletion=complete_model)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
