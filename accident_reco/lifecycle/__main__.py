"""Rolls a model back (`python -m accident_reco.lifecycle rollback <model>`), or pushes inputs of promoted versions to
their remote (`python -m accident_reco.lifecycle push`)."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from accident_reco.lifecycle.dataset import DatasetError, Datasets
from accident_reco.lifecycle.intents import MoveInterrupted, first_line
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.lifecycle.store import ModelStore, NoSuchVersion
from accident_reco.settings import Settings, SettingsError, variable
from accident_reco.storage.objects import StoreError, open_store
from accident_reco.storage.warehouse import Warehouse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0 done, 1 not done, 2 for a wrong setting or command, 3 for a rollback that
    was recorded and interrupted; it is completed later.
    """
    parser = argparse.ArgumentParser(prog="python -m accident_reco.lifecycle", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    back = commands.add_parser("rollback", help="make an older version the champion")
    back.add_argument("model", help="model name")
    back.add_argument(
        "--version", help="version to roll back to; by default the latest one that was not rolled back itself"
    )
    commands.add_parser("push", help="push inputs of promoted versions that their remote lacks")
    options = parser.parse_args(arguments)
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if options.command == "push":
        return _push(settings)
    if options.model not in settings.model_names:
        parser.error(f"there is no model {options.model!r}; models are {', '.join(settings.model_names)}")
    return _roll_back(settings, options.model, options.version)


def _push(settings: Settings) -> int:
    if not settings.dvc_remote:
        sys.stderr.write(f"{variable('dvc_remote')} is empty: inputs are not versioned\n")
        return 2
    try:
        problem = Datasets(settings).push()
    except DatasetError as error:
        problem = str(error)
    sys.stdout.write(f"{problem or 'the remote is complete'}\n")
    return 1 if problem else 0


def _get_user() -> str:
    """Name of the process's user; `getpass` would take whatever name a variable states."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an account
        return f"user {os.getuid()}"


def _roll_back(settings: Settings, model: str, version: str | None) -> int:
    warehouse = Warehouse(settings.database)
    try:
        outcome = roll_back(
            ModelStore(open_store(settings.store)),
            warehouse,
            model,
            version=version,
            requested_by=f"{_get_user()} (command line)",
            run_id="cli",
        )
    except MoveInterrupted as error:
        sys.stderr.write(f"{error}\n")
        return 3
    except (NoSuchVersion, StoreError, ValueError) as error:
        sys.stderr.write(f"{first_line(error)}\n")
        return 1
    except SQLAlchemyError as error:
        address = warehouse.url.render_as_string(hide_password=True)
        sys.stderr.write(f"nothing moved: the warehouse {address} failed: {first_line(error)}\n")
        return 1
    finally:
        warehouse.close()
    sys.stdout.write(f"{outcome.decision.reason}\n")
    return 0 if outcome.decision.promote else 1


if __name__ == "__main__":
    sys.exit(main())
