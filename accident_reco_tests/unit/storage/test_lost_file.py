"""The embedded warehouse's file is removed or replaced under an open warehouse."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from accident_reco.storage.warehouse import Warehouse


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.db"


@pytest.fixture
def warehouse(file: Path) -> Warehouse:
    opened = Warehouse(f"sqlite:///{file}")
    with opened.begin() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER)"))
        connection.execute(text("INSERT INTO t VALUES (1)"))
    return opened


def remove(file: Path) -> None:
    for each in file.parent.glob(f"{file.name}*"):
        each.unlink()


def count(warehouse: Warehouse) -> int:
    with warehouse.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM t")).scalar_one())


def insert(warehouse: Warehouse) -> None:
    with warehouse.begin() as connection:
        connection.execute(text("INSERT INTO t VALUES (2)"))


def test_a_removed_file_is_an_error_and_is_not_created_again(warehouse: Warehouse, file: Path) -> None:
    """Reads and writes fail, pooled connections and new ones; the problem is stated until the file is back."""
    assert warehouse.problem is None
    saved = file.with_name("saved")
    with warehouse.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(file, saved)
    remove(file)
    for action in (insert, count, insert):
        with pytest.raises(OperationalError, match="removed or replaced"):
            action(warehouse)
    assert not file.exists()
    assert "restore it" in str(warehouse.problem)
    saved.rename(file)
    insert(warehouse)
    assert count(warehouse) == 2
    assert warehouse.problem is None
    warehouse.close()


def test_a_replaced_file_is_used_from_then_on(warehouse: Warehouse, file: Path, tmp_path: Path) -> None:
    """As after a restore: nothing is written to the old one."""
    restored = Warehouse(f"sqlite:///{tmp_path / 'restored.db'}")
    with restored.begin() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER)"))
    restored.close()
    remove(file)
    (tmp_path / "restored.db").rename(file)
    assert count(warehouse) == 0
    insert(warehouse)
    warehouse.close()
    again = Warehouse(f"sqlite:///{file}")
    assert count(again) == 1
    again.close()


def test_a_file_that_is_removed_during_a_write_is_not_acknowledged(warehouse: Warehouse, file: Path) -> None:
    """The commit succeeds, on a file that has no name any more."""

    def write_and_lose() -> None:
        with warehouse.begin() as connection:
            connection.execute(text("INSERT INTO t VALUES (3)"))
            remove(file)

    with pytest.raises(OperationalError, match="removed or replaced"):
        write_and_lose()
    warehouse.close()


def test_a_new_warehouse_still_creates_its_file(tmp_path: Path) -> None:
    """The first connection may."""
    new = Warehouse(f"sqlite:///{tmp_path / 'new' / 'w.db'}")
    with new.begin() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER)"))
    new.close()
    assert (tmp_path / "new" / "w.db").exists()


def test_a_process_that_starts_after_the_removal_does_not_hide_it(warehouse: Warehouse, file: Path) -> None:
    """A run or a service that is restarted: it creates no empty file; a migration does, as at the first start."""
    remove(file)
    late = Warehouse(f"sqlite:///{file}", must_exist=True)
    with pytest.raises(OperationalError, match="does not exist"):
        count(late)
    assert not file.exists()
    assert "restore it" in str(warehouse.problem)
    late.upgrade()
    assert warehouse.problem is None
    late.close()
    warehouse.close()
