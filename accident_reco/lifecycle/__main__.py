"""Pushes inputs of promoted versions that their remote lacks: `python -m accident_reco.lifecycle push`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from accident_reco.lifecycle.dataset import DatasetError, Datasets
from accident_reco.settings import Settings, SettingsError, variable


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0 done, 1 not done, 2 for a wrong setting or command."""
    parser = argparse.ArgumentParser(prog="python -m accident_reco.lifecycle", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("push", help="push inputs of promoted versions that their remote lacks")
    parser.parse_args(arguments)
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if not settings.dvc_remote:
        sys.stderr.write(f"{variable('dvc_remote')} is empty: inputs are not versioned\n")
        return 2
    try:
        problem = Datasets(settings).push()
    except DatasetError as error:
        problem = str(error)
    sys.stdout.write(f"{problem or 'the remote is complete'}\n")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
