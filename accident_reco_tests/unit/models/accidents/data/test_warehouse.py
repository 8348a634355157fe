"""Accident years in the embedded warehouse (SQLite)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from accident_reco.models.accidents.model import MODEL
from accident_reco.storage.migrations.accident_views import VIEWS
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support import warehouse_loading


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    made = Warehouse(f"sqlite:///{tmp_path / 'w.db'}")
    made.upgrade()
    yield made
    made.close()


CASES = [
    warehouse_loading.years_are_replaced_whole,
    warehouse_loading.values_arrive_as_they_are,
    warehouse_loading.views_answer,
    warehouse_loading.metrics_are_replaced,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_sqlite(case: Callable[[Warehouse], None], warehouse: Warehouse) -> None:
    """The same cases as on PostgreSQL (e2e/test_accidents_postgres.py)."""
    case(warehouse)


def test_every_view_is_granted_to_the_reader_and_shown_by_a_dashboard() -> None:
    """A view that nobody may read, or nobody reads, is dead weight in every migration."""
    queries = str([board.rows for board in MODEL.dashboards()])
    for view in VIEWS:
        assert MODEL.access["reader"][view] == "SELECT"
        assert f"FROM {view}" in queries.replace("\\n", " "), view
