"""Backup and restore of an embedded home: what is in a backup, what is not, what fails, how it is verified."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from accident_reco.launch import restore as restoring
from accident_reco.launch.backup import save, summarise
from accident_reco.launch.backup_parts import find_parts
from accident_reco.launch.backup_repository import Repository
from accident_reco.launch.home import prepare_home
from accident_reco.launch.locks import RESTORE_MARK
from accident_reco.launch.processes import LaunchError
from accident_reco.launch.restore import restore, verify
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store
from accident_reco_tests.support.command_line import accident_reco

NEEDED = {
    "keys/jwt/key.pem": "secret",
    "mlartifacts/movies/1/artifacts/model": "model",
    "datasets/.git/HEAD": "ref: refs/heads/main",
    "datasets/.git/objects/ab/cd": "blob",
    "datasets/.dvc/cache/files/md5/ab": "inputs",
    "spool/mlflow/waiting.json": "{}",
    "pending/report.html": "<p>",
}
NOT_NEEDED = (
    "logs/auth.log",
    "cache/models/x",
    "tools/bin/dvc",
    "dagster/storage/r/compute_logs/a.out",
    "platform.lock",
)


@pytest.fixture
def settings(tmp_path: Path, migrated_home: Path) -> Settings:
    """A home with a bit of everything."""
    home = tmp_path / "old"
    shutil.copytree(migrated_home, home)
    for name, content in {**NEEDED, **dict.fromkeys(NOT_NEEDED, "x")}.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)
    (home / "keys/jwt/key.pem").chmod(0o600)
    (home / "dagster" / "history").mkdir()
    with closing(sqlite3.connect(home / "dagster" / "history" / "runs.db")) as connection, connection:
        connection.execute("CREATE TABLE runs (id TEXT)")
        connection.execute("INSERT INTO runs VALUES ('a')")
    made = Settings.load(home=home)
    store = open_store(made.store)
    store.write("models/movies/production.json", b'{"version": "v1"}')
    store.write("assets/movies/ratings", b"rows")
    store.write("installation.json", b"owner")
    return made


def new_home(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path / "new")


def files(home: Path) -> dict[str, str]:
    return {path.relative_to(home).as_posix(): path.read_text() for path in home.rglob("*") if path.is_file()}


def test_a_home_is_restored_elsewhere(settings: Settings, tmp_path: Path) -> None:
    """All that is needed, with its access rights; nothing else. What is left out is named with its reason."""
    made, _ = save(settings, tmp_path / "backups")
    assert summarise(made, "saved").startswith(f"saved {made.name}: 2 SQLite databases, 2 objects, 7 other files; ")
    assert made.champions == {"movies": "v1"}
    assert {Path(path).name for path in made.left_out} >= {"logs", "cache", "tools", "storage"}
    new = new_home(tmp_path)
    restore(new, tmp_path / "backups")
    databases = {path.relative_to(new.home).as_posix() for path in new.home.rglob("*.db")}
    assert databases == {"warehouse.db", "dagster/history/runs.db"}
    for name in databases:
        (new.home / name).unlink()
    objects = {"store/models/movies/production.json": '{"version": "v1"}', "store/assets/movies/ratings": "rows"}
    assert files(new.home) == NEEDED | objects
    assert (new.home / "keys/jwt/key.pem").stat().st_mode & 0o777 == 0o600
    assert new.home.stat().st_mode & 0o777 == 0o700


def test_databases_are_consistent_while_others_write(settings: Settings, tmp_path: Path) -> None:
    """Rows that are only in the write-ahead log are in the backup; a transaction in progress is not."""
    with closing(sqlite3.connect(settings.home / "warehouse.db", isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE extra (id INTEGER)")
        writer.execute("INSERT INTO extra VALUES (1)")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO extra VALUES (2)")
        made, _ = save(settings, tmp_path / "backups")
        writer.execute("COMMIT")
    assert made.tables["home/warehouse.db"]["extra"] == 1
    new = new_home(tmp_path)
    restore(new, tmp_path / "backups")
    with closing(sqlite3.connect(new.home / "warehouse.db")) as restored:
        assert restored.execute("SELECT id FROM extra").fetchall() == [(1,)]


def test_locations_inside_follow_the_home(settings: Settings, tmp_path: Path) -> None:
    """MLflow stores absolute paths of artifacts."""
    tracked = [
        ("experiments", "name, artifact_location"),
        ("runs", "artifact_uri"),
        ("model_versions", "source, storage_location"),
    ]
    with closing(sqlite3.connect(settings.home / "mlflow.db")) as connection, connection:
        for table, columns in tracked:
            connection.execute(f"CREATE TABLE {table} ({columns})")
        place = (settings.home / "mlartifacts" / "movies").as_uri()
        connection.execute("INSERT INTO experiments VALUES ('movies', ?)", (place,))
        connection.execute("INSERT INTO runs VALUES (?)", (f"{place}/1/artifacts",))
    save(settings, tmp_path / "backups")
    new = new_home(tmp_path)
    restore(new, tmp_path / "backups")
    with closing(sqlite3.connect(new.home / "mlflow.db")) as connection:
        (found,) = connection.execute("SELECT artifact_uri FROM runs").fetchone()
    assert found == (new.home / "mlartifacts/movies/1/artifacts").as_uri()
    assert Path(found.removeprefix("file://"), "model").read_text() == "model"


def test_a_second_backup_writes_only_what_is_new(settings: Settings, tmp_path: Path) -> None:
    """Unchanged databases too; each backup can be restored."""
    first, size = save(settings, tmp_path / "backups")
    assert size > 0
    (settings.home / "pending/report.html").write_text("<p>changed")
    second, size = save(settings, tmp_path / "backups")
    assert size == len("<p>changed")
    assert Repository(tmp_path / "backups").names() == [first.name, second.name]
    restore(new_home(tmp_path), tmp_path / "backups", first.name)
    assert (tmp_path / "new/pending/report.html").read_text() == "<p>"


def test_without_keys(settings: Settings, tmp_path: Path) -> None:
    """They are left out, and named."""
    made, _ = save(settings, tmp_path / "backups", with_keys=False)
    assert not list(made.below("home/keys"))
    assert made.left_out[str(settings.home / "keys")] == "generated keys and passwords"


def test_databases_outside_of_the_home(settings: Settings, tmp_path: Path) -> None:
    """A warehouse that a setting places elsewhere is saved, and restored to where the new settings place it."""
    (tmp_path / "data").mkdir()
    (settings.home / "warehouse.db").rename(tmp_path / "data/warehouse.db")
    outside = Settings.load(home=settings.home, database_url=f"sqlite:///{tmp_path}/data/warehouse.db")
    made, _ = save(outside, tmp_path / "backups")
    assert "sqlite/warehouse.db" in made.tables
    new = Settings.load(home=tmp_path / "new", database_url=f"sqlite:///{tmp_path}/other/warehouse.db")
    restore(new, tmp_path / "backups")
    assert (tmp_path / "other/warehouse.db").exists()


def test_stores_of_others_are_saved_where_they_are_named(settings: Settings, tmp_path: Path) -> None:
    """DVC's remote and stores that the command names, each once; those of another kind are named as left out."""
    remote = tmp_path / "remote"
    open_store(remote.as_uri()).write("files/md5/ab", b"inputs")
    also = [f"{settings.store}/models", remote.as_uri(), "gs://bucket/x"]
    named = Settings.load(home=settings.home, dvc_remote=remote.as_uri())
    parts = find_parts(named, also)
    assert list(parts.stores.values()) == [settings.store, remote.as_uri()]
    assert "gs://bucket/x" in parts.left_out
    made, _ = save(named, tmp_path / "backups", also=also)
    assert [path for path, _ in made.below("stores/dvc")] == ["files/md5/ab"]
    elsewhere = tmp_path / "elsewhere"
    restore(Settings.load(home=tmp_path / "new", dvc_remote=elsewhere.as_uri()), tmp_path / "backups")
    assert open_store(elsewhere.as_uri()).read("files/md5/ab") == b"inputs"


@pytest.mark.parametrize("home", ["absent", "empty", "other"])
def test_nothing_to_save_is_a_failure(home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong home is not saved as an empty backup; the command ends with exit code 1 and makes no directory."""
    if home != "absent":
        (tmp_path / home).mkdir()
    if home == "other":
        (tmp_path / home / "warehouse.db").write_text("no database")
    monkeypatch.setenv("ACCIDENT_RECO_HOME", str(tmp_path / home))
    outcome = accident_reco("backup", str(tmp_path / "backups"))
    assert outcome.exit_code == 1
    assert f"there is nothing to back up: no warehouse at {tmp_path / home}/warehouse.db" in outcome.err
    assert not (tmp_path / "backups").exists()


def test_restore_needs_an_empty_installation(settings: Settings, tmp_path: Path) -> None:
    """Neither files nor objects are overwritten."""
    save(settings, tmp_path / "backups")
    with pytest.raises(LaunchError, match=r"needs an empty installation; in use: .*warehouse\.db"):
        restore(settings, tmp_path / "backups")
    store = Settings.load(home=tmp_path / "new", store_url=settings.store)
    with pytest.raises(LaunchError, match=f"in use: {settings.store}"):
        restore(store, tmp_path / "backups")


def test_an_interrupted_restore_is_not_started(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of a backup neither starts nor is restored over."""
    save(settings, tmp_path / "backups")

    def fail(*_: object) -> None:
        raise LaunchError("the disk is full")

    monkeypatch.setattr(restoring, "write_store", fail)
    new = new_home(tmp_path)
    with pytest.raises(LaunchError, match="full"):
        restore(new, tmp_path / "backups")
    assert (new.home / RESTORE_MARK).exists()
    for start in (prepare_home, lambda chosen: restore(chosen, tmp_path / "backups")):
        with pytest.raises(LaunchError, match="was interrupted; fix: remove it, and restore again"):
            start(new)


def test_verification_compares(settings: Settings, tmp_path: Path) -> None:
    """Contents by hash, databases by rows, production models by version and files; exit code 4 with each difference."""
    folder = tmp_path / "backups"
    (settings.home / "store/models/movies/production.json").unlink()
    made, _ = save(settings, folder)
    done = accident_reco("verify", str(folder))
    assert (done.exit_code, done.out) == (0, "verified: restored beside, and everything is as it was saved\n")
    document = folder / "backups" / f"{made.name}.json"
    changed = json.loads(document.read_text())
    changed["tables"]["home/dagster/history/runs.db"]["runs"] = 2
    changed["champions"] = {"movies": "v1"}
    document.write_text(json.dumps(changed))
    assert verify(folder) == [
        "home/dagster/history/runs.db: table runs has 1 rows, 2 were saved",
        "movies: the production version is None, v1 was saved",
    ]
    blob = next(path for path in folder.glob("blobs/*/*") if path.read_bytes() == b"secret")
    blob.write_bytes(b"sEcret")
    done = accident_reco("verify", str(folder))
    assert done.exit_code == 4
    assert "the content of home/keys/jwt/key.pem is damaged" in done.err


def test_the_command(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save, verify, and keep the latest; restore into a new home; JSON for scripts."""
    folder = str(tmp_path / "backups")
    (settings.home / "store/models/movies/production.json").unlink()
    monkeypatch.setenv("ACCIDENT_RECO_HOME", str(settings.home))
    first = accident_reco("backup", folder)
    assert first.exit_code == 0
    assert f"left out: {settings.home}/logs: logs of processes" in first.out.splitlines()
    second = accident_reco("backup", folder, "--verify", "--keep", "1", "--json")
    assert second.exit_code == 0
    assert second.document["new_bytes"] == 0
    assert second.err.startswith("removed ")
    assert Repository(Path(folder)).names() == [second.document["name"]]
    monkeypatch.setenv("ACCIDENT_RECO_HOME", str(tmp_path / "new"))
    done = accident_reco("restore", folder)
    assert (done.exit_code, done.out.splitlines()[-1]) == (0, "start it: accident-reco up")


def test_a_warehouse_of_a_newer_release_is_one_message(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older release that a backup was restored into: nothing is changed, the fix is named."""
    with closing(sqlite3.connect(settings.home / "warehouse.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999_later'")
    monkeypatch.setenv("ACCIDENT_RECO_HOME", str(settings.home))
    outcome = accident_reco("prepare")
    assert outcome.exit_code == 1
    assert (
        "a newer release has migrated the warehouse (Can't locate revision identified by '9999_later')" in outcome.err
    )
    assert "fix: start that release, or restore a backup of this one" in outcome.err
    assert "Traceback" not in outcome.err
