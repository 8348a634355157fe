"""Rows of `drift_reports` for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4


def build_report_row(**changes: Any) -> dict[str, Any]:
    """A report with drift of the accident model, computed now; `changes` replace its values."""
    return {
        "id": uuid4().hex,
        "model": "accidents",
        "version": "v1",
        "data_source": "sample",
        "window_name": "log",
        "status": "drift",
        "reason": "11 of 20 features drifted",
        "rows": 5000,
        "groups": None,
        "judged": 20,
        "drifted": 11,
        "drifted_share": 0.55,
        "document": {
            "features": [],
            "performance": {"labels": 0, "dropped": False, "reason": "0 labels", "metrics": {}},
        },
        "run_id": "run",
        "computed_at": datetime.now(UTC),
        **changes,
    }
