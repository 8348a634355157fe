"""Saves an installation into a directory of backups, while it runs.

Databases before files and stores, pointers before versions: every object that a row or a pointer names is then in the
backup, even if versions are promoted meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from accident_reco.launch.backup_parts import InstallationParts, embedded_databases, find_parts
from accident_reco.launch.backup_repository import Backup, Repository, SavedFile
from accident_reco.launch.database_dumps import count_postgres, dump_postgres, dump_sqlite, is_sqlite
from accident_reco.launch.processes import LaunchError
from accident_reco.settings import Settings, variable
from accident_reco.storage.objects import ObjectNotFound, open_store
from accident_reco.storage.ownership import OWNER_KEY

POINTER = "/production.json"
REPORT_EVERY = 50
"""Files between two reports of progress."""


def save(
    settings: Settings,
    folder: Path,
    *,
    also: Sequence[str] = (),
    with_keys: bool = True,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[Backup, int]:
    """Add a backup to a directory; returns it and the bytes that were not in the directory before.

    Args:
        also: URLs of further stores, such as MLflow's artifacts on servers of others.
        with_keys: whether the generated keys and passwords of the home are saved.
        report: called with a line of progress.

    Raises:
        LaunchError: there is nothing to save, the directory holds something else, or a database cannot be dumped.
        StoreError: a store cannot be read.
    """
    parts = find_parts(settings, also, with_keys)
    _require_value(settings, parts)
    repository = Repository(folder)
    with repository.writing(), repository.drafts() as drafts:
        known = repository.names()
        saving = _Saving(parts, repository, repository.read(known[-1]) if known else None, drafts, report)
        saving.save_databases()
        for name, path in embedded_databases(settings).items():
            saving.save_sqlite(path, f"sqlite/{name}.db")
        saving.save_folders()
        for name in parts.stores:
            saving.save_store(name)
        now = datetime.now(UTC)
        made = Backup(
            name=now.strftime("%Y%m%dT%H%M%S.%fZ"),
            at=now.isoformat(timespec="seconds"),
            kind=parts.kind,
            package=version("accident-reco"),
            home=str(settings.home),
            model_store=parts.model_store,
            stores=dict(parts.stores),
            tables=saving.tables,
            left_out=dict(parts.left_out),
            files=saving.files,
        )
        made.champions |= _read_champions(repository, made)
        repository.publish(made)
    return made, repository.new_bytes


def summarise(backup: Backup, verb: str) -> str:
    """What a backup contains, in one line."""
    counts = {
        "PostgreSQL databases": sum(path.startswith("postgres/") for path in backup.tables),
        "SQLite databases": sum(not path.startswith("postgres/") for path in backup.tables),
        "objects": sum(file.path.startswith("stores/") for file in backup.files),
        "other files": sum(
            not file.path.startswith("stores/") and file.path not in backup.tables for file in backup.files
        ),
    }
    listed = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{verb} {backup.name}: {listed}; {backup.size / 2**20:,.1f} MiB"


class _Saving:
    """A backup in progress.

    Args:
        before: the latest backup; its unchanged objects are not read again.
    """

    def __init__(
        self,
        parts: InstallationParts,
        repository: Repository,
        before: Backup | None,
        drafts: Path,
        report: Callable[[str], None],
    ) -> None:
        self.parts, self.repository, self.drafts, self.report = parts, repository, drafts, report
        self.before = {file.path: file for file in before.files} if before else {}
        self.same_stores = {name for name, url in parts.stores.items() if before and before.stores.get(name) == url}
        self.files: list[SavedFile] = []
        self.tables: dict[str, dict[str, int]] = {}

    def save_databases(self) -> None:
        for name, url in self.parts.databases.items():
            self.report(f"database {name}")
            path, draft = f"postgres/{name}.dump", self.drafts / f"{name}.dump"
            self.tables[path] = dump_postgres(url, draft)
            self._add(path, draft)
            draft.unlink()

    def save_folders(self) -> None:
        for name, folder in self.parts.folders.items():
            paths = list(self.parts.files(name))
            databases = {path for path in paths if is_sqlite(path)}
            for path in sorted(databases):
                self.report(f"database {path}")
                self.save_sqlite(path, f"{name}/{path.relative_to(folder).as_posix()}")
            for number, path in enumerate(path for path in paths if path not in databases):
                if number % REPORT_EVERY == 0:
                    self.report(f"{folder}: file {number} of {len(paths)}")
                try:
                    self._add(f"{name}/{path.relative_to(folder).as_posix()}", path)
                except FileNotFoundError:
                    continue  # removed meanwhile

    def save_sqlite(self, source: Path, path: str) -> None:
        draft = self.drafts / "sqlite.db"
        self.tables[path] = dump_sqlite(source, draft)
        self._add(path, draft)
        draft.unlink()

    def save_store(self, name: str) -> None:
        store = open_store(self.parts.stores[name])
        tags = {key: tag for key, tag in store.list_tagged().items() if not f"/{key}".endswith(f"/{OWNER_KEY}")}
        for number, key in enumerate(sorted(tags, key=lambda key: not key.endswith(POINTER))):
            if number % REPORT_EVERY == 0:
                self.report(f"{store.url}: object {number} of {len(tags)}")
            path = f"stores/{name}/{key}"
            known = self.before.get(path)
            if (
                known
                and tags[key]
                and known.tag == tags[key]
                and name in self.same_stores
                and self.repository.has(known)
            ):
                self.files.append(known)
                continue
            try:
                with store.open(key) as source:
                    self.files.append(self.repository.add(path, source, tag=tags[key]))
            except ObjectNotFound:
                continue  # removed meanwhile

    def _add(self, path: str, source: Path) -> None:
        with source.open("rb") as stream:
            mode = source.stat().st_mode & 0o777
            self.files.append(self.repository.add(path, stream, mode))


def _require_value(settings: Settings, parts: InstallationParts) -> None:
    """Raises LaunchError where there is no warehouse with tables: the settings name another home, or none."""
    if "warehouse" in parts.databases:
        if count_postgres(parts.databases["warehouse"]):
            return
        where = variable("database_url")
    else:
        path = embedded_databases(settings).get("warehouse", settings.home / "warehouse.db")
        if path.exists() and is_sqlite(path):
            return
        where = str(path)
    raise LaunchError(
        f"there is nothing to back up: no warehouse at {where}; fix: set {variable('home')} to the platform's home"
    )


def _read_champions(repository: Repository, backup: Backup) -> dict[str, str]:
    """Model → its production version by the pointers that were saved."""
    found = {}
    for path, file in backup.below(f"{backup.model_store}/models"):
        model, _, rest = path.partition("/")
        if f"/{rest}" == POINTER:
            with repository.open(file) as stream:
                found[model] = str(json.load(stream)["version"])
    return found
