"""Command line of the launcher. Prints one screen; the logs of what it starts are in `$HOME/logs`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType

from accident_reco.launch.home import prepare_home
from accident_reco.launch.platform import run_pipeline, run_platform
from accident_reco.launch.processes import LaunchError
from accident_reco.launch.stack import run_stack
from accident_reco.settings import Settings, SettingsError
from accident_reco.storage.objects import StoreError
from serving.auth.bootstrap import ensure_admin


class Stopped(BaseException):
    """Raised by SIGTERM and Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 after an orderly stop, 1 after a failure, 2 for a wrong setting or command."""
    parser = argparse.ArgumentParser(prog="python -m accident_reco.launch", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="materialize what is missing, then run every service until Ctrl-C")
    commands.add_parser("pipeline", help="materialize what is missing, without servers")
    commands.add_parser("prepare", help="create databases, schema, roles and the first admin, then exit")
    commands.add_parser("stack", help="like up, on PostgreSQL, S3, MLflow and Prometheus, which it starts too")
    chosen = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    started = time.monotonic()
    try:
        settings = Settings.load()
        if chosen.command == "stack":
            run_stack(settings, dict(os.environ))
            return 0
        prepare_home(settings)
        if chosen.command == "prepare":
            password = ensure_admin(settings)
            sys.stdout.write(f"admin password: {password}\n" if password else "prepared\n")
        elif chosen.command == "pipeline":
            run_pipeline(settings, dict(os.environ))
        else:
            run_platform(settings, dict(os.environ), started)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (LaunchError, StoreError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except Stopped:
        return 130 if chosen.command == "pipeline" else 0
    return 0


def _stop(_number: int, _frame: FrameType | None) -> None:
    # A second Ctrl-C must not interrupt the orderly stop.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise Stopped


if __name__ == "__main__":
    sys.exit(main())
