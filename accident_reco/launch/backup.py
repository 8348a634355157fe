"""Backup and restore of databases and objects.

Saves databases before objects and pointers before versions, and restores in the opposite order: every object that a row
or a pointer names is then in the backup, even if versions are promoted meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import create_engine, inspect, make_url

from accident_reco.launch.processes import LaunchError
from accident_reco.launch.programs import postgres_program
from accident_reco.settings import Settings
from accident_reco.storage.objects import ObjectStore, open_store
from accident_reco.storage.ownership import OWNER_KEY, TABLE

CONTENTS = "contents.json"
POINTER = "/production.json"


def save(settings: Settings, folder: Path) -> str:
    """Write a backup into a new directory; returns a summary.

    Raises:
        LaunchError: the directory is not empty, or a database cannot be dumped.
    """
    if folder.exists() and any(folder.iterdir()):
        raise LaunchError(f"{folder} is not empty; fix: choose a new directory")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    databases = _databases(settings)
    for name, url in databases.items():
        _dump(url, folder / f"{name}.dump")
    files = _embedded(settings)
    for name in files:
        target = folder / "home" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(settings.home / name)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy)  # consistent while others write
    store = open_store(settings.store)
    keys = sorted((key for key in store.list() if key != OWNER_KEY), key=lambda key: not key.endswith(POINTER))
    for key in keys:
        _fetch(store, key, folder / "objects" / key)
    contents = {
        "at": datetime.now(UTC).isoformat(),
        "databases": sorted(databases),
        "files": files,
        "objects": len(keys),
    }
    (folder / CONTENTS).write_text(json.dumps(contents, indent=1), encoding="utf-8")
    return _summary("saved", contents)


def restore(settings: Settings, folder: Path) -> str:
    """Restore a backup into an empty installation; returns a summary.

    Raises:
        LaunchError: the backup is incomplete, or the installation is not empty.
    """
    try:
        contents = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
    except OSError:
        raise LaunchError(f"{folder} holds no complete backup: {CONTENTS} is missing") from None
    databases = _databases(settings)
    if sorted(databases) != contents["databases"]:
        raise LaunchError(
            f"the backup holds the databases {contents['databases']}, the settings name {sorted(databases)}"
        )
    store = open_store(settings.store)
    in_use = [name for name, url in databases.items() if _has_tables(url)]
    in_use += [name for name in contents["files"] if (settings.home / name).exists()]
    if in_use or store.list():
        raise LaunchError(f"restore needs an empty installation; in use: {', '.join(in_use) or settings.store}")
    for name, url in databases.items():
        _load(url, folder / f"{name}.dump")
    for name in contents["files"]:
        (settings.home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "home" / name, settings.home / name)
    root = folder / "objects"
    keys = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.is_file()]
    for key in sorted(keys, key=lambda key: key.endswith(POINTER)):
        with (root / key).open("rb") as stream:
            store.write(key, stream)
    if len(keys) != contents["objects"]:
        raise LaunchError(f"the backup lists {contents['objects']} objects and holds {len(keys)}")
    return _summary("restored", contents)


def _databases(settings: Settings) -> dict[str, str]:
    """Name → URL of the PostgreSQL databases in the settings."""
    urls = {
        "warehouse": settings.database_url,
        "dagster": settings.dagster_database_url,
        "mlflow": settings.mlflow_database_url,
    }
    return {name: url for name, url in urls.items() if make_url(url or "sqlite://").get_backend_name() == "postgresql"}


def _embedded(settings: Settings) -> list[str]:
    """SQLite files of the home: warehouse, MLflow, Dagster's history."""
    stack = settings.home / "stack"
    found = [path for path in settings.home.rglob("*.db") if path.is_file() and stack not in path.parents]
    return sorted(path.relative_to(settings.home).as_posix() for path in found)


def _fetch(store: ObjectStore, key: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with store.open(key) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)


def _dump(url: str, target: Path) -> None:
    # Without the installation's ownership mark: a restored database belongs to the one that starts on it.
    flags = ["--format=custom", "--no-owner", "--no-privileges", f"--exclude-table={TABLE}", f"--file={target}"]
    _postgres("pg_dump", url, flags)


def _load(url: str, source: Path) -> None:
    flags = ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]
    _postgres("pg_restore", url, [*flags, str(source)])


def _postgres(program: str, url: str, flags: Sequence[str]) -> None:
    parts = make_url(url)
    where = [f"--host={parts.host}", f"--port={parts.port or 5432}", f"--username={parts.username}"]
    done = subprocess.run(
        [postgres_program(program), *where, f"--dbname={parts.database}", *flags],
        env=os.environ | {"PGPASSWORD": str(parts.password or "")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LaunchError(f"{program} of {parts.database} failed:\n{done.stderr.strip()}")


def _has_tables(url: str) -> bool:
    engine = create_engine(url)
    try:
        return bool(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def _summary(verb: str, contents: dict[str, object]) -> str:
    databases, files = contents["databases"], contents["files"]
    assert isinstance(databases, list)
    assert isinstance(files, list)
    return f"{verb} {len(databases)} PostgreSQL databases, {len(files)} SQLite files, {contents['objects']} objects"
