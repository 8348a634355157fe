"""Removes a home. Only a directory that the platform created, and only while no platform runs in it."""

from __future__ import annotations

import shutil

from sqlalchemy import make_url

from accident_reco.launch.processes import LaunchError
from accident_reco.launch.running import find_running
from accident_reco.settings import Settings, variable

MARKS = ("installation-id", "dagster", "warehouse.db")
"""Entries of which a home has at least one."""


def require_removable(settings: Settings) -> int:
    """Check that the home may be removed; returns its size in bytes.

    Raises:
        LaunchError: there is no home, it is another kind of directory, or a platform runs in it.
    """
    home = settings.home
    if not home.exists():
        raise LaunchError(f"{home} does not exist: there is nothing to reset")
    if not any((home / mark).exists() for mark in MARKS):
        raise LaunchError(f"{home} is no home of the platform: it has none of {', '.join(MARKS)}")
    if running := find_running(home):
        raise LaunchError(f"a {running.kind} runs in {home} (process {running.pid}); fix: accident-reco stop")
    return sum(path.lstat().st_size for path in home.rglob("*") if not path.is_dir())


def external_parts(settings: Settings) -> list[str]:
    """Databases and stores outside of the home, which a reset does not touch, without passwords."""
    names = ("database_url", "dagster_database_url", "mlflow_tracking_uri", "store_url")
    named = {variable(name): getattr(settings, name) for name in names}
    return [
        f"{name} = {make_url(url).render_as_string() if 'sql' in url.partition(':')[0] else url}"
        for name, url in named.items()
        if url
    ]


def remove_home(settings: Settings) -> None:
    """Remove the home with everything in it."""
    shutil.rmtree(settings.home)
