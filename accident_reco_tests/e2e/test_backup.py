"""Backup and restore on real PostgreSQL and S3, and on an embedded home: the restored installation works."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from accident_reco.launch.backup import restore, save
from accident_reco.launch.home import prepare_home
from accident_reco.launch.processes import LaunchError
from accident_reco.lifecycle.gate import GatePolicy
from accident_reco.lifecycle.promotion import promote
from accident_reco.lifecycle.store import ModelStore
from accident_reco.settings import Settings, variable
from accident_reco.storage.lifecycle import promotion_history
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.e2e.conftest import S3, Postgres
from accident_reco_tests.support.live import live
from accident_reco_tests.support.real_accidents import real_bundle
from serving.auth.bootstrap import ensure_admin

pytestmark = pytest.mark.e2e


@pytest.fixture(params=["stack", "embedded"])
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


def test_restored_installation_works(installation: Callable[[str], Settings], tmp_path: Path) -> None:
    """Save and restore into an empty installation: users log in, the champion predicts, the audit and Dagster's history
    are there."""
    from accident_reco_tests.support.loaders import LOADERS
    from serving.auth.app import create_app as auth_app
    from serving.predict.app import create_app

    old = installation("old")
    prepare_home(old)
    password = ensure_admin(old)
    assert password
    with _dagster(old) as instance:
        assert dg.materialize([made_before_the_backup], instance=instance).success
    warehouse = Warehouse(old.database)
    models = ModelStore(open_store(old.store))
    made = promote(
        models, warehouse, real_bundle(rounds=3, rows=400), lambda *_: None, GatePolicy("roc_auc", True, 0.1, 0.0), "r"
    )
    audit = promotion_history(warehouse, "accidents")
    warehouse.close()
    summary = save(old, tmp_path / "backup")
    assert "6 objects" in summary
    with pytest.raises(LaunchError, match="not empty"):
        save(old, tmp_path / "backup")
    with pytest.raises(LaunchError, match="needs an empty installation"):
        restore(old, tmp_path / "backup")

    new = installation("new")
    restore(new, tmp_path / "backup")
    prepare_home(new)  # finds the newest revision
    warehouse = Warehouse(new.database)
    assert promotion_history(warehouse, "accidents") == audit
    warehouse.close()
    with _dagster(new) as instance:
        assert instance.get_latest_materialization_event(made_before_the_backup.key)
        assert instance.get_runs_count() == 1
    assert ensure_admin(new) is None, "the admin was restored; only the signing key is new"
    with live(auth_app(new)) as client:
        login = client.post("/token", data={"username": "admin", "password": password})
        assert login.status_code == 200, login.text
    with live(create_app(new, {"accidents": LOADERS["accidents"]})) as client:
        answer = client.post("/predict/accidents", json={"records": [{"catu": 3}]}).json()
    assert answer["version"] == made.version


def test_incomplete_backup_is_rejected(tmp_path: Path) -> None:
    """The contents file is written last: without it a backup is incomplete."""
    (tmp_path / "backup/objects").mkdir(parents=True)
    with pytest.raises(LaunchError, match="no complete backup"):
        restore(Settings.load(home=tmp_path / "h"), tmp_path / "backup")
