"""Writes deploy/grafana/dashboards/*.json: `python deploy/grafana/make_dashboards.py`. Edit the sources, not the JSON.

Shared dashboards are in `model_boards` and `service_boards`; each installed model brings its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from machine_board import MACHINE
from model_boards import DRIFT, MODELS
from panels import build_dashboard
from service_boards import API, LOGS

from accident_reco.registry import all_models

FOLDER = Path(__file__).parent / "dashboards"


def rendered() -> dict[str, str]:
    """File name → JSON of every dashboard."""
    boards = [
        API,
        LOGS,
        MACHINE,
        MODELS,
        DRIFT,
        *(board for model in all_models().values() for board in model.dashboards()),
    ]
    return {f"{board.uid}.json": _to_json(build_dashboard(board)) for board in boards}


def _to_json(board: Any) -> str:
    plain = _without_nulls(json.loads(json.dumps(board, cls=JSONEncoder)))
    return json.dumps(plain, indent=1, sort_keys=True) + "\n"


def _without_nulls(part: Any) -> Any:
    if isinstance(part, dict):
        # The first step of thresholds has the value null: from minus infinity on.
        return {name: _without_nulls(value) for name, value in part.items() if value is not None or name == "value"}
    return [_without_nulls(value) for value in part] if isinstance(part, list) else part


if __name__ == "__main__":
    for name, text in rendered().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
