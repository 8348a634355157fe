"""`python -m accident_reco.lifecycle rollback accidents`: an older version serves again, within a second or two."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence

from accident_reco.lifecycle.bundle import MODELS
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.lifecycle.store import ModelStore, NoSuchVersion
from accident_reco.settings import Settings, SettingsError
from accident_reco.storage.objects import StoreError, open_store
from accident_reco.storage.warehouse import Warehouse


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when the pointer moved, 1 when it did not, 2 for a wrong setting or command."""
    parser = argparse.ArgumentParser(prog="python -m accident_reco.lifecycle", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    back = commands.add_parser("rollback", help="let an older version serve again")
    back.add_argument("model", choices=MODELS)
    back.add_argument("--version", help="version to serve; by default the one before the champion")
    chosen = parser.parse_args(arguments)
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    warehouse = Warehouse(settings.database)
    try:
        outcome = roll_back(
            ModelStore(open_store(settings.store)), warehouse, chosen.model,
            version=chosen.version, asked_by=f"{getpass.getuser()} (command line)", run_id="cli",
        )  # fmt: skip
    except (NoSuchVersion, StoreError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        warehouse.close()
    sys.stdout.write(f"{outcome.decision.reason}\n")
    return 0 if outcome.decision.promote else 1


if __name__ == "__main__":
    sys.exit(main())
