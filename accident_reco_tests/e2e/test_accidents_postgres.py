"""Accident years in a real PostgreSQL: the cases of the embedded warehouse."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.warehouse_loading import CASES

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_postgres(case: Callable[[Warehouse], None], warehouse: Warehouse) -> None:
    """COPY instead of prepared inserts, foreign keys and types enforced."""
    case(warehouse)
