"""Accident years in the embedded warehouse (SQLite)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from accident_reco.lifecycle.bundle import canonical_json
from accident_reco.models.accidents.data import ingest
from accident_reco.models.accidents.data.queries import read_loaded_years
from accident_reco.models.accidents.data.raw_store import VICTIMS
from accident_reco.models.accidents.data.tables import accident_years
from accident_reco.models.accidents.model import MODEL
from accident_reco.storage.migrations.accident_views import VIEWS
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support import warehouse_loading


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    made = Warehouse(f"sqlite:///{tmp_path / 'w.db'}")
    made.upgrade()
    yield made
    made.close()


@pytest.mark.parametrize("case", warehouse_loading.CASES, ids=lambda case: case.__name__)
def test_sqlite(case: Callable[[Warehouse], None], warehouse: Warehouse) -> None:
    """The same cases as on PostgreSQL (e2e/test_accidents_postgres.py)."""
    case(warehouse)


def test_every_view_is_granted_to_the_reader_and_shown_by_a_dashboard() -> None:
    """A view that nobody may read, or nobody reads, is dead weight in every migration."""
    queries = str([board.rows for board in MODEL.dashboards()])
    for view in VIEWS:
        assert MODEL.access["reader"][view] == "SELECT"
        assert f"FROM {view}" in queries.replace("\\n", " "), view


class Killed(BaseException):
    """The end of a process."""


def test_a_killed_load_of_another_source_removes_nothing(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Years that the new source lacks are removed once its years are loaded."""
    facts = {"data_source": "sample", "victims_sha256": "a" * 64, "refused": 0, "repaired": 0, "months": 12}
    with warehouse.begin() as connection:
        row = {"an": 2019, "accidents": 1, "people": 2, "loaded_at": datetime.now(UTC), **facts}
        connection.execute(accident_years.insert(), row)
    store = open_store(f"file://{tmp_path / 'store'}")
    summary = {"an": 2024, "data_source": "official", "victims_sha256": "b" * 64}
    store.write(f"{VICTIMS}/2024.json", canonical_json(summary))

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "load_frame", killed)
        with pytest.raises(Killed):
            ingest.load_warehouse(store, warehouse, "official")
    assert set(read_loaded_years(warehouse)) == {2019}
    store.delete(f"{VICTIMS}/2024.json")
    assert ingest.load_warehouse(store, warehouse, "official")["removed"] == [2019]
    assert read_loaded_years(warehouse) == {}
