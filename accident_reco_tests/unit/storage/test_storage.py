"""Object store, warehouse and settings: atomic writes, compare-and-swap, migrations, refusals."""

import io
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import select

from accident_reco.settings import Settings, SettingsError, unknown_settings
from accident_reco.storage.objects import ObjectExists, ObjectNotFound, StoreError, SwapConflict, open_store
from accident_reco.storage.tables import all_tables
from accident_reco.storage.tables.lifecycle import promotions
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import advance_request, request_work, work_request
from accident_reco_tests.support.contention import count_together


class _Broken(io.BytesIO):
    def read(self, size: int = -1) -> bytes:
        if self.tell() > 2_000_000:
            raise OSError("the connection was reset")
        return super().read(size)


def test_interrupted_write_leaves_the_old_object_and_no_rest(tmp_path: Path) -> None:
    """A stream that breaks half-way: readers keep the old content, and no part of the new one stays behind."""
    store = open_store(tmp_path.as_uri())
    store.write("raw/a.csv", b"old")
    with pytest.raises(OSError, match="reset"):
        store.write("raw/a.csv", _Broken(b"x" * 5_000_000))
    assert store.read("raw/a.csv") == b"old"
    assert [p.name for p in (tmp_path / "raw").iterdir()] == ["a.csv"]


def test_create_swap_list_delete(tmp_path: Path) -> None:
    """The object store's whole vocabulary on a directory whose name has a space."""
    store = open_store((tmp_path / "my store").as_uri())
    tag = store.create("m/pointer.json", b"1")
    with pytest.raises(ObjectExists):
        store.create("m/pointer.json", b"2")
    with pytest.raises(SwapConflict):
        store.swap("m/pointer.json", b"2", None)
    newer = store.swap("m/pointer.json", b"2", tag)
    assert store.read_tagged("m/pointer.json") == (b"2", newer)
    assert store.list("m") == store.list() == ["m/pointer.json"]
    store.delete("m/pointer.json")
    with pytest.raises(ObjectNotFound):
        store.read("m/pointer.json")


@pytest.mark.parametrize("key", ["../escape", "/etc/passwd", "a/../../b"])
def test_keys_stay_inside(tmp_path: Path, key: str) -> None:
    """A key that climbs out is refused before anything is touched."""
    with pytest.raises(StoreError, match="leaves the object store"):
        open_store((tmp_path / "s").as_uri()).write(key, b"x")


def test_unsafe_schemes_are_refused() -> None:
    """A store without atomic writes would break the pointer's promise."""
    with pytest.raises(StoreError, match="file:// or s3://"):
        open_store("ftp://host/x")


def test_swaps_from_many_threads_all_count(tmp_path: Path) -> None:
    """Compare-and-swap under contention loses no update."""
    assert count_together(open_store(tmp_path.as_uri()), threads=4, times=20) == 80


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    warehouse = Warehouse(f"sqlite:///{tmp_path / 'w.db'}")
    warehouse.upgrade()
    yield warehouse
    warehouse.close()


def test_migrations_make_exactly_the_tables_in_code(warehouse: Warehouse) -> None:
    """One head, and nothing that autogenerate would add: code and migrations never drift apart."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from accident_reco.storage.migrations import alembic_config

    with warehouse.begin() as connection:
        assert len(ScriptDirectory.from_config(alembic_config(connection)).get_heads()) == 1
        assert compare_metadata(MigrationContext.configure(connection), all_tables()) == []
    assert all(column.comment for table in all_tables().tables.values() for column in table.columns)


def test_bulk_replace_is_one_transaction(warehouse: Warehouse) -> None:
    """Rows that break a rule leave the table as it was; NaN arrives as NULL."""
    frame = pd.DataFrame(
        {
            "id": ["a", "b"],
            "model": "accidents",
            "version": "v",
            "previous": [None, float("nan")],
            "action": "promote",
            "promoted": True,
            "reason": "r",
            "detail": [{}, {}],
            "run_id": "r",
            "decided_at": pd.Timestamp("2024-01-01", tz="UTC"),
        }
    )
    assert warehouse.replace(promotions, frame, promotions.c.model == "accidents") == 2
    broken = frame.assign(id=["c", "c"])
    with pytest.raises(Exception, match="UNIQUE"):
        warehouse.replace(promotions, broken, promotions.c.model == "accidents")
    with warehouse.connect() as connection:
        assert connection.execute(select(promotions.c.id, promotions.c.previous)).all() == [("a", None), ("b", None)]


def test_a_request_is_made_once_and_closed_once(warehouse: Warehouse) -> None:
    """The same key asks once; a closed request never moves again."""
    ask = {"kind": "training", "model": "movies", "source": "alert", "requested_by": "ops", "reason": "drift"}
    first, new = request_work(warehouse, **ask, dedupe_key="k")
    again, repeated = request_work(warehouse, **ask, dedupe_key="k")
    assert (new, repeated, first["id"]) == (True, False, again["id"])
    assert advance_request(warehouse, first["id"], "running", run_id="run")
    assert advance_request(warehouse, first["id"], "refused", outcome="gain is not significant")
    assert not advance_request(warehouse, first["id"], "promoted")
    row = work_request(warehouse, first["id"])
    assert (row["status"], row["run_id"], row["outcome"]) == ("refused", "run", "gain is not significant")


def test_every_wrong_setting_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message, all problems, with the variable's name, its value and the rule."""
    monkeypatch.setenv("ACCIDENT_RECO_PREDICT_PORT", "eighty")
    monkeypatch.setenv("ACCIDENT_RECO_SEED", "-1")
    with pytest.raises(SettingsError) as error:
        Settings.load()
    assert "ACCIDENT_RECO_PREDICT_PORT = 'eighty'" in str(error.value)
    assert "ACCIDENT_RECO_SEED = '-1'" in str(error.value)


def test_settings_from_files_and_embedded_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """NAME_FILE reads a secret from a file; what is not set follows the home directory."""
    (tmp_path / "url").write_text("postgresql+psycopg2://u:secret@localhost/w\n")
    monkeypatch.setenv("ACCIDENT_RECO_DATABASE_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("ACCIDENT_RECO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = Settings.load()
    assert settings.database == "postgresql+psycopg2://u:secret@localhost/w"
    assert settings.store == (tmp_path / "home/store").as_uri()
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/home/mlflow.db"
    assert "secret" not in repr(Warehouse(settings.database))


def test_a_missing_secret_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The way out is in the message: which variable, which file."""
    monkeypatch.setenv("ACCIDENT_RECO_DATABASE_URL_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="ACCIDENT_RECO_DATABASE_URL_FILE: cannot read"):
        Settings.load()


def test_a_misspelt_setting_is_pointed_out() -> None:
    """A typo that silently does nothing costs an afternoon."""
    environ = {"ACCIDENT_RECO_PREDCIT_PORT": "1", "ACCIDENT_RECO_HOME_FILE": "x", "PATH": ""}
    assert unknown_settings(environ, Settings) == {
        "ACCIDENT_RECO_PREDCIT_PORT": " (did you mean ACCIDENT_RECO_PREDICT_PORT?)"
    }
