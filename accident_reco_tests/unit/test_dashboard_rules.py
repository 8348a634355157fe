"""What holds for every Grafana dashboard, whoever adds a panel: ranges, units, choices, links, annotations, refresh."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from accident_reco.dashboards import COLUMNS
from accident_reco.launch.stack_config import DEPLOY
from accident_reco_tests.support.boards import BOARDS, panels

_ALL = [(f"{name}:{panel['title']}", panel) for name, board in BOARDS.items() for panel in panels(board)]
PANELS = [pytest.param(panel, id=title) for title, panel in _ALL]
QUERIES = [
    pytest.param(target.get("expr") or target["rawSql"], id=title)
    for title, panel in _ALL
    for target in panel["targets"]
]
SOURCES = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/accident_reco.yml").read_text())["datasources"]
RULES = yaml.safe_load((DEPLOY / "prometheus/rules/alerts.yml").read_text())["groups"]
BIG_TABLES = re.compile(r"\b(victims|accidents|vehicles|places|ratings|accident_map|accident_outcomes_\w+)\b")
PEOPLE = {
    "administrator": ["api", "logs", "machine"],
    "data scientist": ["models", "drift"],
    "analyst": ["accidents", "movies"],
}


def variables(board: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in board["templating"]["list"]}


def statements(board: dict[str, Any]) -> list[str]:
    return [target.get("expr") or target["rawSql"] for panel in panels(board) for target in panel["targets"]]


@pytest.mark.parametrize("query", QUERIES)
def test_no_range_is_fixed(query: str) -> None:
    """With a fixed range and a longer step, events between two points are on no point: at 24 hours all were missing.

    A rule of Prometheus with a fixed range has the same gaps.
    """
    assert set(re.findall(r"\[([^\]]*)\]", query)) <= {"$__rate_interval", "$__auto", "$__range"}
    assert not re.search(r":(rate|ratio|p\d+_)\d+m\b", query)


@pytest.mark.parametrize("panel", PANELS)
def test_numbers_of_tables_have_a_unit_of_their_own(panel: dict[str, Any]) -> None:
    """A unit for all columns makes years read 2.02 K; the columns that every table shares read alike everywhere."""
    if panel["type"] == "table":
        assert panel["fieldConfig"]["defaults"]["unit"] == "none"
    if panel["type"] not in ("table", "map"):
        return
    overridden = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
    for target in panel["targets"]:
        selected = re.split(r"\bFROM\b", target.get("rawSql", ""))[0]
        named = {name for name in COLUMNS if re.search(rf"\b{name}\b", selected)}
        assert named <= overridden


@pytest.mark.parametrize("uid", list(BOARDS))
def test_board_is_for_one_person_and_says_for_whom(uid: str) -> None:
    """In the first panel and the description, with a tag to find it by; the order of `PEOPLE` is that of the folder."""
    board = BOARDS[uid]
    (person,) = [person for person, uids in PEOPLE.items() if uid in uids]
    first = board["panels"][0]
    assert first["type"] == "text"
    assert first["options"]["content"].startswith(f"**For the {person}.** ")
    assert first["options"]["content"].count("?") == 1, "its questions are one sentence"
    assert board["description"].startswith(f"For the {person}: ")
    assert person.replace(" ", "-") in board["tags"]


def test_every_board_has_a_person() -> None:
    """No dashboard is left over, none is missing."""
    assert sorted(uid for uids in PEOPLE.values() for uid in uids) == sorted(BOARDS)


@pytest.mark.parametrize("uid", list(BOARDS))
def test_variables_are_used_and_declared(uid: str) -> None:
    """What a query or a link names can be chosen, and what can be chosen is used."""
    board = BOARDS[uid]
    text = json.dumps([board["panels"], board["annotations"], [v["query"] for v in variables(board).values()]])
    named = set(re.findall(r"\$\{?([a-z]+)\b", text))
    assert named <= set(variables(board))
    assert set(variables(board)) - {"dagster", "console", "mlflow"} <= named


def test_operators_can_choose_model_version_service_and_department() -> None:
    """Each by its own dashboards; all values are chosen first."""
    chosen = {uid: set(variables(board)) - {"dagster", "console", "mlflow"} for uid, board in BOARDS.items()}
    assert chosen["models"] == {"model", "version"}
    assert chosen["drift"] == {"model"}
    assert chosen["logs"] == {"service", "request", "run"}
    assert chosen["accidents"] == {"department"}
    for board in BOARDS.values():
        for variable in variables(board).values():
            if variable["type"] == "query":
                assert (variable["includeAll"], variable["current"]["value"]) == (True, "$__all")


@pytest.mark.parametrize("uid", list(BOARDS))
def test_time_series_show_what_happened_to_the_models(uid: str) -> None:
    """Promotions, rollbacks and verdicts of drift are annotations wherever there is a time axis."""
    board = BOARDS[uid]
    if any(panel["type"] == "timeseries" for panel in panels(board)):
        names = [annotation["name"] for annotation in board["annotations"]["list"]]
        assert names == ["Promotions", "Rollbacks", "Drift"]


@pytest.mark.parametrize("uid", list(BOARDS))
def test_years_of_data_are_not_read_every_30_seconds(uid: str) -> None:
    """They change once a load: only a person reloads them."""
    queries = [query.replace("accident_years", "") for query in statements(BOARDS[uid]) if "SELECT" in query]
    if any(map(BIG_TABLES.search, queries)):
        assert not BOARDS[uid].get("refresh")


def test_map_is_on_france_without_the_internet() -> None:
    """Outlines come with Grafana; circles are coloured by the share; details show without a click."""
    (panel,) = [panel for panel in panels(BOARDS["accidents"]) if panel["type"] == "geomap"]
    options = panel["options"]
    assert "http" not in json.dumps(options)
    assert options["basemap"]["type"] == "geojson"
    assert options["basemap"]["config"]["src"].startswith("public/maps/")
    assert 42 < options["view"]["lat"] < 51
    assert -5 < options["view"]["lon"] < 9
    assert options["view"]["zoom"] > 4
    (layer,) = options["layers"]
    color = layer["config"]["style"]["color"]["field"]
    (shown,) = [o["properties"] for o in panel["fieldConfig"]["overrides"] if o["matcher"]["options"] == color]
    (steps,) = [option["value"]["steps"] for option in shown if option["id"] == "thresholds"]
    assert len({step["color"] for step in steps}) >= 3
    assert steps[0]["value"] is None, "the first colour holds from minus infinity on"
    assert options["tooltip"]["mode"] == "details"


def test_links_lead_to_dashboards_and_their_choices() -> None:
    """Of columns, of alerts, and of Loki's lines: request to lines, run to Dagster, version to console and MLflow."""
    urls = [url for shown in COLUMNS.values() for url in shown.links.values()]
    urls += [rule["annotations"]["dashboard_url"] for group in RULES for rule in group["rules"]]
    boards = 0
    for url in urls:
        split = urlsplit(url)
        if not split.path.startswith("/d/"):
            continue
        boards += 1
        board = BOARDS[split.path.removeprefix("/d/")]
        for name in parse_qs(split.query):
            assert name.removeprefix("var-") in variables(board), url
    assert boards > len(RULES)
    assert any(url.startswith("${dagster}/runs/") for url in COLUMNS["run_id"].links.values())
    assert {url.split("/")[0] for url in COLUMNS["version"].links.values()} == {"${console}", "${mlflow}", ""}
    (loki,) = [source for source in SOURCES if source["uid"] == "loki"]
    derived = {field["matcherRegex"]: field["url"] for field in loki["jsonData"]["derivedFields"]}
    assert derived == {
        "request_id": "/d/logs?var-request=$${__value.raw}",
        "run_id": "http://localhost:8080/runs/$${__value.raw}",
    }


def test_every_alert_leads_to_a_dashboard() -> None:
    """A person who is woken opens the panel, not the list of dashboards."""
    for group in RULES:
        for rule in group["rules"]:
            assert rule["annotations"]["dashboard_url"].startswith("http://localhost:3000/d/"), rule["alert"]
