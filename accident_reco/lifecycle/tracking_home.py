"""Keeps an embedded tracking database usable after its home was moved or copied.

MLflow stores absolute locations of artifacts with experiments, runs and registered versions. When the home starts at
another path, they are rewritten there. Uses the database alone, so that it costs milliseconds.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

ARTIFACTS: Final = "mlartifacts"
"""Folder of an embedded tracker's artifacts, below the home."""
LOCATIONS: Final = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns with locations."""


def follow_home(uri: str, artifacts: Path) -> int:
    """Point every location below another home's artifacts at this one's; returns the number of experiments moved.

    Args:
        uri: tracking URI; only an existing SQLite file is changed.
        artifacts: folder with one folder per experiment.
    """
    database = Path(urlsplit(uri).path[1:])
    if not uri.startswith("sqlite:///") or not database.is_file():
        return 0
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {table for table, _ in LOCATIONS} <= tables:
            return 0
        known = connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
        moved = [
            (location, (artifacts / name).as_uri())
            for name, location in known
            if location.startswith("file://") and location.endswith(f"/{artifacts.name}/{name}")
        ]
        moved = [(old, new) for old, new in moved if old != new]
        for old, new in moved:
            for table, column in LOCATIONS:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR {column} LIKE ?",  # noqa: S608 - our own names
                    (new, len(old) + 1, old, f"{old}/%"),
                )
        return len(moved)
