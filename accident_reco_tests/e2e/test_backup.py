"""Backup and restore on real PostgreSQL and S3, of a stack, and of an embedded home: the restored one works."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from s3fs import S3FileSystem

from accident_reco.launch.backup import save
from accident_reco.launch.backup_repository import Repository
from accident_reco.launch.home import prepare_home
from accident_reco.launch.processes import LaunchError, free_port
from accident_reco.launch.restore import restore, verify
from accident_reco.launch.stack import storage_of_home
from accident_reco.launch.stack_servers import seaweed_ports
from accident_reco.lifecycle.gate import GatePolicy
from accident_reco.lifecycle.promotion import promote
from accident_reco.lifecycle.store import ModelStore
from accident_reco.settings import Settings, variable
from accident_reco.storage.lifecycle import promotion_history
from accident_reco.storage.objects import ObjectStore, open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.e2e.conftest import S3, Postgres
from accident_reco_tests.support.live import live
from accident_reco_tests.support.real_accidents import real_bundle
from serving.auth.bootstrap import ensure_admin

pytestmark = pytest.mark.e2e


@pytest.fixture(params=["servers", "embedded"])
def installation(
    request: pytest.FixtureRequest, postgres: Postgres, s3: S3, tmp_path: Path
) -> Callable[[str], Settings]:
    """Settings of an empty installation by name."""

    def make(name: str) -> Settings:
        if request.param == "embedded":
            return Settings.load(home=tmp_path / name, auth_required=False)
        return Settings.load(
            home=tmp_path / name,
            auth_required=False,
            store_url=f"s3://artifacts/backup-{name}",
            database_url=postgres.new_database(),
            dagster_database_url=postgres.new_database(),
        )

    return make


@dg.asset
def made_before_the_backup() -> None:
    """An asset in Dagster's history."""


@contextmanager
def _dagster(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable("dagster_database_url"), settings.dagster_database_url)
        with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
            yield instance


def _fill(settings: Settings) -> tuple[str, str]:
    """Prepare an installation with an admin and a champion; returns the admin's password and the version."""
    prepare_home(settings)
    password = ensure_admin(settings)
    assert password
    warehouse = Warehouse(settings.database)
    models = ModelStore(open_store(settings.store))
    policy = GatePolicy("roc_auc", True, 0.1, 0.0)
    made = promote(models, warehouse, real_bundle(rounds=3, rows=400), lambda *_: None, policy, "r")
    warehouse.close()
    return password, made.version


def _require_working(settings: Settings, password: str, version: str) -> None:
    """The admin logs in, the champion predicts, another version can be promoted."""
    from accident_reco_tests.support.loaders import LOADERS
    from serving.auth.app import create_app as auth_app
    from serving.predict.app import create_app

    prepare_home(settings)  # finds the newest revision
    assert ensure_admin(settings) is None, "the admin was restored"
    with live(auth_app(settings)) as client:
        login = client.post("/token", data={"username": "admin", "password": password})
        assert login.status_code == 200, login.text
    with live(create_app(settings, {"accidents": LOADERS["accidents"]})) as client:
        answer = client.post("/predict/accidents", json={"records": [{"catu": 3}]}).json()
    assert answer["version"] == version
    warehouse = Warehouse(settings.database)
    models = ModelStore(open_store(settings.store))
    policy = GatePolicy("roc_auc", True, 0.1, 0.0)
    again = promote(models, warehouse, real_bundle(rounds=3, rows=400), lambda *_: None, policy, "again")
    assert "serves already" in again.decision.reason
    warehouse.close()


def test_restored_installation_works(installation: Callable[[str], Settings], tmp_path: Path) -> None:
    """Save, verify, and restore into an empty installation: it works, with the audit and Dagster's history."""
    old = installation("old")
    password, version = _fill(old)
    with _dagster(old) as instance:
        assert dg.materialize([made_before_the_backup], instance=instance).success
    warehouse = Warehouse(old.database)
    audit = promotion_history(warehouse, "accidents")
    warehouse.close()
    made, _ = save(old, tmp_path / "backups")
    assert made.champions == {"accidents": version}
    assert verify(tmp_path / "backups") == []
    again, new_bytes = save(old, tmp_path / "backups")
    assert new_bytes <= sum(again.file(path).size for path in again.tables), "objects are not saved again"
    with pytest.raises(LaunchError, match="needs an empty installation"):
        restore(old, tmp_path / "backups")

    new = installation("new")
    restore(new, tmp_path / "backups")
    warehouse = Warehouse(new.database)
    assert promotion_history(warehouse, "accidents") == audit
    warehouse.close()
    _require_working(new, password, version)
    with _dagster(new) as instance:
        assert instance.get_latest_materialization_event(made_before_the_backup.key)
        assert instance.get_runs_count() == 1


def test_unchanged_objects_of_s3_are_not_read_again(store: ObjectStore, tmp_path: Path) -> None:
    """By their ETag; a changed one is."""
    settings = Settings.load(home=tmp_path / "home", store_url=store.url)
    Warehouse(settings.database).upgrade()
    store.write("assets/a", b"first")
    store.write("assets/b", b"second")
    save(settings, tmp_path / "backups")
    store.write("assets/b", b"changed")
    repository = Repository(tmp_path / "backups")
    for blob in repository.folder.glob("blobs/*/*"):
        if blob.read_bytes() == b"first":
            blob.write_bytes(b"FIRST")  # would be replaced if the object was read
    made, _ = save(settings, tmp_path / "backups")
    contents = {
        path: (repository.folder / "blobs" / f.sha256[:2] / f.sha256).read_bytes()
        for path, f in made.below("stores/store/assets")
    }
    assert contents == {"a": b"FIRST", "b": b"changed"}


def test_a_stack_that_does_not_run_is_saved_and_restored_elsewhere(stack_folder: Path) -> None:
    """The commands find its settings and start its servers; every bucket is saved; the restored stack works."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ACCIDENT_RECO_"))}

    def prepared(name: str) -> Settings:
        ports = {"postgres_port": free_port(), "s3_port": seaweed_ports()[0]}
        return Settings.load(home=stack_folder / name, auth_required=False, **ports)

    def command(settings: Settings, *arguments: str) -> str:
        named = {variable(name): str(getattr(settings, name)) for name in ("home", "postgres_port", "s3_port")}
        line = [sys.executable, "-m", "accident_reco.cli", *arguments]
        done = subprocess.run(line, env=environ | named, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def running(settings: Settings) -> Iterator[Settings]:
        with storage_of_home(settings, environ) as variables, pytest.MonkeyPatch.context() as patch:
            S3FileSystem.clear_instance_cache()
            for name, value in variables.items():
                patch.setenv(name, value)
            yield Settings.load(home=settings.home, auth_required=False)

    old, new, backups = prepared("old"), prepared("new"), stack_folder / "stack-backups"
    with running(old) as settings:
        password, version = _fill(settings)
        open_store("s3://mlflow/artifacts").write("1/model", b"artifact")
        open_store("s3://artifacts/dvc").write("files/md5/ab", b"inputs")
    saved = command(old, "backup", str(backups), "--verify")
    assert "3 PostgreSQL databases" in saved
    assert "verified" in saved
    assert "start it: accident-reco stack" in command(new, "restore", str(backups))
    with running(new) as settings:
        assert open_store("s3://mlflow/artifacts").read("1/model") == b"artifact"
        assert open_store("s3://artifacts/dvc").read("files/md5/ab") == b"inputs"
        _require_working(settings, password, version)
