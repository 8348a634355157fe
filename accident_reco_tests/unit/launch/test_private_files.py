"""Access rights of a home: of a new one, of one of an earlier release, of what children create."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from accident_reco.launch import private_files
from accident_reco.launch.home import prepare_home
from accident_reco.launch.private_files import protect_home, readable_by_others
from accident_reco.launch.processes import Children
from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o777)


def test_a_new_home_is_private(tmp_path: Path) -> None:
    """The home 0700, the warehouse 0600 with its write-ahead log, whatever the umask of the shell."""
    before = os.umask(0o000)
    try:
        settings = Settings.load(home=tmp_path / "home")
        prepare_home(settings)
        warehouse = Warehouse(settings.database)
        with warehouse.begin():
            found = {path.name: mode(path) for path in settings.home.glob("warehouse.db*")}
        warehouse.close()
        assert os.umask(0o000) == 0, "the process keeps its own umask"
    finally:
        os.umask(before)
    assert mode(settings.home) == "0o700"
    assert mode(settings.keys) == "0o700"
    assert found == {f"warehouse.db{suffix}": "0o600" for suffix in ("", "-wal", "-shm")}


def test_a_warehouse_alone_is_private(tmp_path: Path) -> None:
    """Also one that no launcher creates."""
    before = os.umask(0o022)
    try:
        warehouse = Warehouse(f"sqlite:///{tmp_path}/data/warehouse.db")
        warehouse.upgrade()
        warehouse.close()
    finally:
        os.umask(before)
    assert mode(tmp_path / "data" / "warehouse.db") == "0o600"


def test_the_home_of_an_earlier_release_is_protected(tmp_path: Path) -> None:
    """Directory, databases and keys that were readable by all."""
    files = ["warehouse.db", "warehouse.db-wal", "mlflow.db", "dagster/history/runs.db", "keys/jwt/key.pem"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch(mode=0o644)
        (tmp_path / name).chmod(0o644)
    tmp_path.chmod(0o755)
    assert readable_by_others(tmp_path)
    protect_home(tmp_path)
    assert {name: mode(tmp_path / name) for name in files} == dict.fromkeys(files, "0o600")
    assert mode(tmp_path) == "0o700"
    assert not readable_by_others(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts PostgreSQL as another user")
def test_postgresql_of_root_may_pass_through_the_home(tmp_path: Path) -> None:
    """The group of `nobody` enters the home and the stack's folder, and lists neither."""
    (tmp_path / "stack").mkdir(mode=0o755)
    protect_home(tmp_path)
    for folder in (tmp_path, tmp_path / "stack"):
        assert (mode(folder), folder.stat().st_gid) == ("0o710", private_files.UNPRIVILEGED)
    assert not readable_by_others(tmp_path)


def test_children_create_private_files(tmp_path: Path) -> None:
    """Dagster's and MLflow's databases, which we do not create ourselves."""
    code = f"import sqlite3; c = sqlite3.connect('{tmp_path}/mlflow.db'); c.execute('create table t (a)')"
    children = Children({}, tmp_path)
    assert children.wait(children.start("child", [sys.executable, "-c", code])) == 0
    assert mode(tmp_path / "mlflow.db") == "0o600"
