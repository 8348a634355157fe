"""Restores a backup into an empty installation, and verifies backups by restoring them beside and comparing.

The opposite order of saving: pointers after versions, databases last. Paths inside follow the new home.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from secrets import token_urlsafe
from urllib.parse import quote

from sqlalchemy import URL, create_engine, text

from accident_reco.launch.backup import POINTER
from accident_reco.launch.backup_parts import embedded_databases, find_parts
from accident_reco.launch.backup_repository import Backup, Repository, SavedFile
from accident_reco.launch.database_dumps import count_postgres, count_sqlite, load_postgres
from accident_reco.launch.locks import require_restored, restoring
from accident_reco.launch.postgres_server import start_postgres
from accident_reco.launch.private_files import private_files, protect_folder, protect_home
from accident_reco.launch.processes import LOOPBACK, Children, LaunchError, free_port
from accident_reco.launch.stack import storage_of_home
from accident_reco.lifecycle.store import ModelStore
from accident_reco.lifecycle.tracking_home import ARTIFACTS, follow_home
from accident_reco.settings import Settings
from accident_reco.storage.objects import ObjectStore, open_store

EMPTY_HOME = ("logs", "stack.lock", "platform.lock", "pipeline.lock")
"""What an empty home may contain."""
Report = Callable[[str], None]


def restore(
    settings: Settings,
    folder: Path,
    name: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    report: Report = lambda _: None,
) -> Backup:
    """Restore a backup into an empty installation; returns it. Servers of a stack are started for it, and stopped.

    Args:
        name: of the backup; the latest by default.
        environ: environment of a stack's servers; that of this process by default.

    Raises:
        LaunchError: the backup is incomplete or damaged, the installation is not empty, or is of another kind.
        StoreError: a store cannot be written.
    """
    repository = Repository(folder)
    backup = repository.read(name)
    _require_same_kind(settings, backup)
    _require_empty_home(settings, backup)
    with ExitStack() as servers, restoring(settings.home):
        folders = {"home": settings.home, "datasets": settings.datasets}
        if backup.kind == "stack":  # its passwords first: the servers start with them
            write_files(repository, backup, folders, report)
            report("starting PostgreSQL and S3")
            variables = servers.enter_context(
                storage_of_home(settings, dict(os.environ if environ is None else environ))
            )
            os.environ.update(variables)
            settings = Settings.load(home=settings.home)
        parts = find_parts(settings)
        stores = {name: open_store(parts.stores.get(name, url)) for name, url in backup.stores.items()}
        _require_empty(parts.databases, stores)
        if backup.kind != "stack":
            write_files(repository, backup, folders, report)
        for file_name, path in embedded_databases(settings).items():
            _write_file(repository, backup.file(f"sqlite/{file_name}.db"), path)
        for store_name, store in stores.items():
            write_store(repository, backup, store_name, store, report)
        for database, url in parts.databases.items():
            report(f"database {database}")
            load_dump(repository, backup, database, url)
    follow_home(settings.tracking_uri, settings.home / ARTIFACTS)
    protect_home(settings.home)
    return backup


def verify(folder: Path, name: str | None = None, *, report: Report = lambda _: None) -> list[str]:
    """Restore a backup beside, into temporary directories and databases, and compare; returns the differences.

    Contents are compared by hash, databases by the rows of every table at the time of saving, production models by
    version and by the hash of each of their files. PostgreSQL is started for it, on a free port.

    Raises:
        LaunchError: there is no such backup, or PostgreSQL cannot be started.
    """
    repository = Repository(folder)
    backup = repository.read(name)
    report("checking contents")
    if problems := list(repository.problems(backup)):
        return problems
    with tempfile.TemporaryDirectory(prefix="accident-reco-verify-") as temporary:
        root = Path(temporary)
        protect_folder(root, passable=True)  # by PostgreSQL
        folders = {"home": root / "home", "datasets": root / "datasets", "sqlite": root / "sqlite"}
        write_files(repository, backup, folders, report)
        for store_name in backup.stores:
            write_store(repository, backup, store_name, open_store((root / "stores" / store_name).as_uri()), report)
        found = {path: count_sqlite(root / path) for path in backup.tables if not path.startswith("postgres/")}
        if names := [Path(path).stem for path in backup.tables if path.startswith("postgres/")]:
            report("loading databases")
            found |= _count_restored(repository, backup, names, root)
        return [*_compare_tables(backup.tables, found), *_compare_models(backup, root / backup.model_store)]


def write_files(repository: Repository, backup: Backup, folders: Mapping[str, Path], report: Report) -> None:
    """Write the files of a backup below folders, by the name of each folder in the backup."""
    with private_files():
        for name, folder in folders.items():
            report(f"files of {folder}")
            for path, file in backup.below(name):
                if not (folder / path).resolve().is_relative_to(folder.resolve()):
                    raise LaunchError(f"{file.path} of the backup leaves {folder}")
                _write_file(repository, file, folder / path)


def write_store(repository: Repository, backup: Backup, name: str, store: ObjectStore, report: Report) -> None:
    """Write the objects of a store, pointers last."""
    files = sorted(backup.below(f"stores/{name}"), key=lambda entry: entry[0].endswith(POINTER))
    for number, (key, file) in enumerate(files):
        if number % 50 == 0:
            report(f"{store.url}: object {number} of {len(files)}")
        with repository.open(file) as source:
            store.write(key, source)


def load_dump(repository: Repository, backup: Backup, name: str, url: str) -> None:
    """Load the dump of a database into an empty one."""
    with tempfile.TemporaryDirectory(prefix="accident-reco-dump-") as temporary:
        dump = Path(temporary) / "dump"
        _write_file(repository, backup.file(f"postgres/{name}.dump"), dump)
        load_postgres(url, dump)


def _write_file(repository: Repository, file: SavedFile, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as stream:
        repository.copy(file, stream)
    target.chmod(file.mode)


def _require_same_kind(settings: Settings, backup: Backup) -> None:
    if backup.kind == "stack":
        if settings.database_url:
            raise LaunchError("the backup is of a stack, the settings name databases; fix: unset their variables")
        return
    saved = sorted(Path(path).stem for path in backup.tables if path.startswith("postgres/"))
    named = sorted(find_parts(settings).databases)
    if saved != named:
        raise LaunchError(f"the backup holds the databases {saved}, the settings name {named}")


def _require_empty_home(settings: Settings, backup: Backup) -> None:
    require_restored(settings.home)
    if backup.kind == "servers":
        found = [settings.home / path for path, _ in backup.below("home") if (settings.home / path).exists()]
    else:
        found = [path for path in settings.home.glob("*") if path.name not in EMPTY_HOME]
    found += [path for path in embedded_databases(settings).values() if path.exists()]
    if any(backup.below("datasets")) and settings.datasets.exists():
        found.append(settings.datasets)
    if found:
        listed = ", ".join(map(str, found[:5]))
        raise LaunchError(f"restore needs an empty installation; in use: {listed}")


def _require_empty(databases: Mapping[str, str], stores: Mapping[str, ObjectStore]) -> None:
    found = [name for name, url in databases.items() if count_postgres(url)]
    found += [store.url for store in stores.values() if store.list()]
    if found:
        raise LaunchError(f"restore needs an empty installation; in use: {', '.join(found)}")


def _count_restored(repository: Repository, backup: Backup, names: list[str], root: Path) -> dict[str, dict[str, int]]:
    """Load dumps into a PostgreSQL of their own; returns the rows of each table."""
    port, password = free_port(), token_urlsafe(16)
    children = Children(os.environ, root)
    try:
        ready = start_postgres(children, root / "postgres", port, password, {"fsync": "off"})
        children.await_ready({"postgres": ready}, 60)
        found = {}
        for name in names:
            admin = URL.create("postgresql+psycopg2", "postgres", password, LOOPBACK, port, "postgres")
            engine = create_engine(admin, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(text(f'CREATE DATABASE "{name}"'))
            engine.dispose()
            url = f"postgresql+psycopg2://postgres:{quote(password)}@{LOOPBACK}:{port}/{name}"
            load_dump(repository, backup, name, url)
            found[f"postgres/{name}.dump"] = count_postgres(url)
        return found
    finally:
        children.stop()


def _compare_tables(saved: Mapping[str, Mapping[str, int]], found: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    for path, tables in saved.items():
        for table in sorted({*tables, *found[path]}):
            before, after = tables.get(table), found[path].get(table)
            if before != after:
                yield f"{path}: table {table} has {after} rows, {before} were saved"


def _compare_models(backup: Backup, store: Path) -> Iterator[str]:
    models = ModelStore(open_store(store.as_uri()))
    for model, version in backup.champions.items():
        try:
            champion = models.champion(model)
            if champion is None or champion[0].version != version:
                yield f"{model}: the production version is {champion and champion[0].version}, {version} was saved"
            else:
                models.files(champion[1])
        except (ValueError, LookupError) as error:
            yield f"{model} {version}: {error}"
