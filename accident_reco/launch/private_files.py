"""Access rights of a home: its directory is 0700, what is created in it is readable by its user alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PRIVATE_UMASK = 0o077
UNPRIVILEGED = 65534
"""User and group `nobody` of Debian, as which root starts PostgreSQL."""


@contextmanager
def private_files() -> Iterator[None]:
    """Files and directories that this process creates meanwhile are 0600 and 0700."""
    before = os.umask(PRIVATE_UMASK)
    try:
        yield
    finally:
        os.umask(before)


def protect_home(home: Path) -> None:
    """Withdraw other users' rights to a home, its databases and keys, also where an earlier release created them.

    Where root runs the stack, the group of the user `nobody` may pass through (0710), not list: PostgreSQL's data is
    below. Files of another owner are left as they are.
    """
    for folder in (home, home / "stack"):
        if folder.is_dir():
            protect_folder(folder, passable=(home / "stack").is_dir())
    databases = (
        path for pattern in ("*.db", "*.db-*") for path in (*home.glob(pattern), *home.glob(f"dagster/**/{pattern}"))
    )
    keys = (path for folder in (home / "keys", home / "stack" / "keys") for path in folder.rglob("*"))
    for path in (*databases, *keys):
        with suppress(PermissionError, FileNotFoundError):
            path.chmod(path.stat().st_mode & ~PRIVATE_UMASK)


def readable_by_others(home: Path) -> bool:
    """Whether users other than the owner may list or read a home."""
    return bool(home.stat().st_mode & 0o066)


def protect_folder(folder: Path, passable: bool) -> None:
    """Withdraw other users' rights to a folder.

    Args:
        passable: whether PostgreSQL, which root starts as `nobody`, works below.
    """
    passable &= os.geteuid() == 0
    with suppress(PermissionError):
        if passable:
            os.chown(folder, -1, UNPRIVILEGED)
        folder.chmod(0o710 if passable else 0o700)
