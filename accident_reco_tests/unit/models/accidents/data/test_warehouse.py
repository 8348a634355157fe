"""Accident years in the embedded warehouse (SQLite)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
