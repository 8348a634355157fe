"""Which requests to the pages of Dagster and MLflow are refused: the rules as a table."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from serving.guard.rules import LOOPBACK, PagePolicy, PageRequest, find_refusal, split_host
from serving.guard.user_tag import USER_TAG, ForgedTag, add_user_tag

DAGSTER = PagePolicy("dagster", LOOPBACK | {"dagster.example"}, frozenset({"/server_info"}))
MLFLOW = PagePolicy("mlflow", LOOPBACK, frozenset({"/health"}))
JSON = {"content-type": "application/json"}
OWN = {"host": "127.0.0.1:8080"}
PAGE = OWN | {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "same-origin"}
HTML = {"accept": "text/html,*/*"}
NAVIGATION = HTML | {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def status(policy: PagePolicy, method: str, path: str, query: str = "", ws: bool = False, **headers: str) -> int | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    refusal = find_refusal(PageRequest(method, path, query, named, ws), policy)
    return refusal.status if refusal else None


def joined(*parts: dict[str, str]) -> dict[str, str]:
    return {name.replace("-", "_"): value for part in parts for name, value in part.items()}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8080", None),
        ("localhost:3000", None),
        ("LOCALHOST", None),
        ("[::1]:8080", None),
        ("dagster.example", None),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:8080", 403),
        ("localhost.evil.example", 403),
        ("evil.example@127.0.0.1", 403),
        ("127.0.0.1:8080,evil.example", 403),
        ("127.0.0.1:x", 403),
        ("", 403),
    ],
)
def test_host_names(host: str, expected: int | None) -> None:
    """Names of loopback and those of the setting; a name that resolves here is another one (DNS rebinding)."""
    assert status(DAGSTER, "GET", "/", host=host) == expected


def test_probes_are_answered_under_any_name() -> None:
    """An orchestrator calls by address; only reading."""
    assert status(DAGSTER, "GET", "/server_info", host="10.0.0.7:8080") is None
    assert status(DAGSTER, "POST", "/server_info", **joined({"host": "10.0.0.7"}, JSON)) == 403
    assert status(DAGSTER, "GET", "/server_info", ws=True, host="10.0.0.7:8080") == 403


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://127.0.0.1:8080", None),
        ("https://127.0.0.1:8080", None),
        ("http://localhost:8080", 403),
        ("http://127.0.0.1:3000", 403),
        ("http://evil.example", 403),
        ("https://evil.example:8080", 403),
        ("null", 403),
        ("", 403),
        ("file://", 403),
        ("http://127.0.0.1:8080@evil.example", 403),
        ("http://127.0.0.1:8080.evil.example", 403),
    ],
)
def test_origins(origin: str, expected: int | None) -> None:
    """The page's own alone, for reading, mutations and websockets alike; another port is another page."""
    given = joined(OWN, JSON, {"origin": origin})
    assert status(DAGSTER, "POST", "/graphql", **given) == expected
    assert status(DAGSTER, "GET", "/runs", **given) == expected
    assert status(DAGSTER, "GET", "/graphql", ws=True, **given) == expected


def test_the_default_port_is_implied() -> None:
    """Behind a proxy with TLS the host has no port, nor has the origin."""
    given = joined({"host": "dagster.example", "origin": "https://dagster.example"}, JSON)
    assert status(DAGSTER, "POST", "/graphql", **given) is None


@pytest.mark.parametrize("site", ["cross-site", "same-site", "other"])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (NAVIGATION, None),
        (NAVIGATION | {"sec-fetch-dest": "iframe"}, 403),
        ({"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, 403),
        (HTML | {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}, 403),
        ({"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, 403),
        ({}, 403),
    ],
)
def test_other_sites_may_only_link(site: str, kind: dict[str, str], expected: int | None) -> None:
    """A link opens a page; images, scripts, frames and requests of other pages are refused."""
    assert status(DAGSTER, "GET", "/runs", **joined(OWN, kind, {"sec-fetch-site": site})) == expected
    assert status(DAGSTER, "POST", "/graphql", **joined(OWN, kind, JSON, {"sec-fetch-site": site})) == 403


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "expected"),
    [
        ("POST", "/graphql", "", JSON, None),
        ("POST", "/graphql", "", {"content-type": "application/json; charset=utf-8"}, None),
        ("POST", "/graphql", "", {"content-type": "text/plain"}, 415),
        ("POST", "/graphql", "", {"content-type": "application/graphql"}, 415),
        ("POST", "/graphql", "", {"content-type": "application/x-www-form-urlencoded"}, 415),
        ("POST", "/graphql", "", {"content-type": "text/plain; application/json"}, 415),
        ("POST", "/graphql", "", {}, 415),
        ("POST", "/report_asset_materialization/a", "", {}, 415),
        ("GET", "/graphql", "query=mutation{a}", {}, 405),
        ("GET", "/graphql", "query={a}", {"accept": "*/*"}, 405),
        ("HEAD", "/graphql", "query={a}", {}, 405),
        ("GET", "/graphql/", "query={a}", {}, 405),
        ("GET", "/graphql", "query={a}", HTML, None),
        ("GET", "/graphql", "", HTML, None),
        ("GET", "/runs", "a=1", {}, None),
    ],
)
def test_dagsters_operations(method: str, path: str, query: str, headers: dict[str, str], expected: int | None) -> None:
    """By POST as JSON; a GET executes nothing (with Accept: text/html, Dagster renders a page)."""
    assert status(DAGSTER, method, path, query, **joined(OWN, headers)) == expected


@pytest.mark.parametrize(
    ("method", "path", "media_type", "expected"),
    [
        ("POST", "/api/2.0/mlflow/runs/create", "application/json", None),
        ("POST", "/api/2.0/mlflow/runs/create", "text/plain", 415),
        ("POST", "/ajax-api/2.0/mlflow/upload-artifact", "multipart/form-data; boundary=x", 415),
        ("POST", "/api/2.0/mlflow/runs/create", "", 415),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/a.txt", "text/plain", None),
        ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/a.txt", "", None),
    ],
)
def test_mlflows_operations(method: str, path: str, media_type: str, expected: int | None) -> None:
    """Types that a form can send are refused; a page of another origin cannot send PUT and DELETE unasked."""
    given = joined(OWN, {"content-type": media_type} if media_type else {})
    assert status(MLFLOW, method, path, **given) == expected


@pytest.mark.parametrize(
    ("method", "path", "from_page", "expected"),
    [
        ("GET", "/", True, None),
        ("POST", "/ajax-api/2.0/mlflow/runs/search", True, None),
        ("POST", "/graphql", True, None),
        ("POST", "/ajax-api/2.0/mlflow/runs/delete", True, 403),
        ("PATCH", "/ajax-api/2.0/mlflow/registered-models/update", True, 403),
        ("DELETE", "/ajax-api/2.0/mlflow/search", True, 403),
        ("POST", "/api/2.0/mlflow/runs/create", False, None),
    ],
)
def test_read_only_pages(method: str, path: str, from_page: bool, expected: int | None) -> None:
    """Pages search and show; trainings, which are no pages, still log."""
    policy = PagePolicy("mlflow", LOOPBACK, frozenset(), read_only=True)
    assert status(policy, method, path, **joined(PAGE if from_page else OWN, JSON)) == expected


def test_read_only_dagster_has_graphql_alone() -> None:
    """The web server refuses mutations by itself; the other endpoints that write are closed."""
    policy = PagePolicy("dagster", LOOPBACK, frozenset(), read_only=True)
    assert status(policy, "POST", "/graphql", **joined(PAGE, JSON)) is None
    assert status(policy, "POST", "/report_asset_materialization/a", **joined(OWN, JSON)) == 403


def test_hosts_are_split() -> None:
    """Names in lower case, ports as numbers, IPv6 in brackets; what is no host has no name."""
    assert split_host("A.example:80") == ("a.example", 80)
    assert split_host("[::1]:8080") == ("[::1]", 8080)
    assert split_host("a/b") == ("", None)
    assert split_host("[::1") == ("", None)


def launch(**parameters: Any) -> bytes:
    selector = {"jobName": "rollback_model"}
    variables = {"executionParams": {"selector": selector, "runConfigData": {}, **parameters}}
    return orjson.dumps({"query": "mutation ($executionParams: ExecutionParams!) {…}", "variables": variables})


def test_runs_carry_the_account() -> None:
    """Beside the tags of the request; a list of launches alike; queries stay as they are."""
    tags = [{"key": "a", "value": "b"}]
    found = orjson.loads(add_user_tag(launch(executionMetadata={"tags": tags}), "ada"))
    own = {"key": USER_TAG, "value": "ada"}
    assert found["variables"]["executionParams"]["executionMetadata"]["tags"] == [*tags, own]
    several = orjson.dumps({"variables": {"list": [orjson.loads(launch())["variables"]["executionParams"]] * 2}})
    assert [
        p["executionMetadata"]["tags"] for p in orjson.loads(add_user_tag(several, "ada"))["variables"]["list"]
    ] == [
        [own],
        [own],
    ]
    assert add_user_tag(b'{"query": "{a}"}', "ada") == b'{"query": "{a}"}'


@pytest.mark.parametrize(
    "body",
    [
        launch(executionMetadata={"tags": [{"key": USER_TAG, "value": "admin"}]}),
        launch(executionMetadata={"tags": [{"key": USER_TAG, "value": "admin"}]}).replace(b"/user", b"\\u002fuser"),
        orjson.dumps({"query": 'mutation {launchRun(tags: [{key: "accident_reco/user", value: "admin"}]) {a}}'}),
        orjson.dumps({"query": 'mutation {launchRun(tags: [{key: "accident_reco\\u002fuser", value: "b"}]) {a}}'}),
        orjson.dumps({"query": 'mutation {launchRun(tags: [{key: "accident_reco\\u{2f}user", value: "b"}]) {a}}'}),
        orjson.dumps({"variables": {"x": {"runConfigData": "tags: {accident_reco/user: admin}"}}}),
    ],
)
def test_the_account_cannot_be_chosen(body: bytes) -> None:
    """Not in variables, not in the text of an operation, not with escapes."""
    with pytest.raises(ForgedTag):
        add_user_tag(body, "ada")


def test_what_is_no_json_is_an_error() -> None:
    """The app never sees a body that the guard could not read."""
    with pytest.raises(ValueError, match="unexpected"):
        add_user_tag(b"mutation", "ada")
