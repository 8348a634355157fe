"""LogQL of the dashboards: valid by Grafana's own grammar, with streams that Alloy writes."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from accident_reco.launch.programs import debian
from accident_reco.launch.stack_config import DEPLOY
from accident_reco_tests.support.alloy import send

pytestmark = pytest.mark.e2e
PARSER = Path(__file__).parent / "logql"
SERVICES = set(yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"])
LEVELS = {"debug", "info", "warning", "error", "critical"}

Parse = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def parse(tmp_path_factory: pytest.TempPathFactory) -> Parse:
    """Expressions → their errors and matchers, by npm's `@grafana/lezer-logql` in a folder of its own."""
    folder = shutil.copytree(PARSER, tmp_path_factory.mktemp("npm") / "logql")
    npm = [debian("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(npm, cwd=folder, check=True, capture_output=True, text=True, timeout=120)

    def parsed(*expressions: str) -> list[dict[str, Any]]:
        command = [debian("node", "nodejs"), "parse.mjs"]
        done = subprocess.run(
            command, cwd=folder, input=json.dumps(expressions), check=True, capture_output=True, text=True, timeout=30
        )
        return json.loads(done.stdout)

    return parsed


def _expressions() -> dict[str, str]:
    """Panel → LogQL."""
    boards = [json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json"))]
    panels = [panel for board in boards for panel in board["panels"] if panel["type"] != "row"]
    return {
        f"{panel['title']} {number}": target["expr"]
        for panel in panels
        for number, target in enumerate(panel["targets"])
        if panel["datasource"]["type"] == "loki"
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
