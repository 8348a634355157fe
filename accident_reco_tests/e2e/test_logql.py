"""LogQL of the dashboards: valid by Grafana's own grammar, with streams that Alloy writes."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from accident_reco.launch.stack_config import DEPLOY
from accident_reco_tests.support.alloy import send
from accident_reco_tests.support.boards import fill_expression

pytestmark = pytest.mark.e2e
SERVICES = set(yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"])
LEVELS = {"debug", "info", "warning", "error", "critical"}

Parse = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def parse(npm: Callable[[str, Any], Any]) -> Parse:
    """Expressions → their errors and matchers, by npm's `@grafana/lezer-logql`."""
    return lambda *expressions: npm("parse.mjs", expressions)


def _expressions() -> dict[str, str]:
    """Panel → LogQL."""
    boards = [json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json"))]
    panels = [panel for board in boards for panel in board["panels"] if panel["type"] != "row"]
    return {
        f"{panel['title']} {number}": fill_expression(target["expr"])
        for panel in panels
        for number, target in enumerate(panel.get("targets", []))
        if panel.get("datasource", {}).get("type") == "loki"
    }


def test_every_logql_expression_is_grammatical(parse: Parse) -> None:
    """No error node anywhere in the tree of any panel's expression."""
    expressions = _expressions()
    assert len(expressions) >= 4
    wrong = {
        panel: f"{expressions[panel]} at {found['errors']}"
        for panel, found in zip(expressions, parse(*expressions.values()), strict=True)
        if found["errors"]
    }
    assert not wrong


def test_every_stream_is_written_by_alloy(parse: Parse) -> None:
    """Selectors use only labels that Alloy sets, with existing values: a panel on another service stays empty."""
    labels = {name for service in SERVICES for entry in send(["x"], service, "c") for name in entry.labels}
    values = {"service": SERVICES, "level": LEVELS}
    assert labels == set(values), "few values each: values that differ on every line are structured metadata"
    for found in parse(*_expressions().values()):
        assert found["matchers"]
        for label, operator, value in found["matchers"]:
            assert label in labels
            known = values[label]
            named = known if operator == "=~" and re.fullmatch(value, "x") else value.split("|")
            assert set(named) <= known, f"{label}{operator}{value}"


@pytest.mark.parametrize(
    "broken",
    [
        '{level=~"error"',
        "{level=error}",
        "{}",
        '{level="error"} | json |',
        'rate({level="error"})',
        'sum by (level) (rate({level="error"}[5]))',
        'summe(rate({level="error"}[5m]))',
        "",
    ],
)
def test_invalid_expression_is_found(parse: Parse, broken: str) -> None:
    """A mistyped expression has errors."""
    (found,) = parse(broken)
    assert found["errors"], broken
