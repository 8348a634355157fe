"""The dashboards' JSON, and their queries with the values that Grafana puts in for its variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from accident_reco.launch.stack_config import DEPLOY

BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
}


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels with queries of a dashboard."""
    yield from (panel for panel in board["panels"] if panel["type"] not in ("row", "text"))


def fill_sql(statement: str, chosen: Mapping[str, Sequence[str]]) -> str:
    """A statement over all times, with all values of each variable chosen."""
    filled = re.sub(
        r"\$__timeFilter\((\w+)\)", r"\1 BETWEEN now() - interval '90 years' AND now() + interval '1 day'", statement
    )
    for name, values in chosen.items():
        listed = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
        filled = filled.replace(f"${{{name}:sqlstring}}", listed)
    assert "$" not in filled, filled
    return filled


def fill_expression(expression: str) -> str:
    """PromQL or LogQL with a range as in a short time range, and every value of each variable."""
    ranged = re.sub(r"\$__(rate_interval|auto|range)\b", "1m", expression)
    filled = re.sub(r"\$(model|service|version|department)\b", ".+", ranged)
    return re.sub(r"\$(request|run)\b", "", filled)
