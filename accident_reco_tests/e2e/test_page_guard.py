"""The pages of Dagster and MLflow behind their guard, as a person and as a foreign page reach them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import mlflow
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from accident_reco.launch.home import ROOT
from accident_reco.launch.platform import readiness_urls
from accident_reco.launch.processes import Children, free_port
from accident_reco.launch.stack_servers import start_mlflow
from accident_reco.lifecycle.tracking import VERSION_TAG, TrackedRun, log_alone, prepare_experiment
from accident_reco.lifecycle.tracking_home import ARTIFACTS
from accident_reco.settings import Settings
from accident_reco_tests.support.accounts import PASSWORD, Auth, running_auth
from serving.guard.user_tag import USER_TAG

pytestmark = pytest.mark.e2e
SECONDS = 120.0
get, post = partial(httpx.get, timeout=SECONDS), partial(httpx.post, timeout=SECONDS)
MUTATION = "mutation { reloadWorkspace { __typename } }"
JOB = """import dagster as dg

@dg.op
def nothing(): ...

@dg.job
def idle():
    nothing()

defs = dg.Definitions(jobs=[idle])
"""
LAUNCH = """mutation Launch($executionParams: ExecutionParams!) {
  launchRun(executionParams: $executionParams) {
    __typename ... on PythonError { message } ... on LaunchRunSuccess { run { tags { key value } } }
  }
}"""


@pytest.fixture(scope="module")
def auth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Auth]:
    with running_auth(tmp_path_factory.mktemp("auth")) as running:
        running.add_user("ada", PASSWORD, "admin")
        running.add_user("bob", PASSWORD)
        yield running


def start_dagster(home: Path, **settings: str) -> tuple[Children, str]:
    """The guarded web server with one job; returns it and its URL."""
    (home / "logs").mkdir(parents=True)
    (home / "dagster").mkdir()
    (home / "jobs.py").write_text(JOB)
    named = {f"ACCIDENT_RECO_{name.upper()}": value for name, value in settings.items()}
    environ = os.environ | {
        "ACCIDENT_RECO_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "PYTHONPATH": str(ROOT),
    }
    children = Children(environ | named, home / "logs")
    port = free_port()
    command = [sys.executable, "-m", "serving.guard.dagster_server"]
    children.start("dagster", [*command, "-h", "127.0.0.1", "-p", str(port), "-f", str(home / "jobs.py")])
    return children, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    children, url = start_dagster(tmp_path_factory.mktemp("open"))
    try:
        children.await_ready({"dagster": f"{url}/server_info"}, SECONDS)
        yield url
    finally:
        children.stop()


def test_a_foreign_page_changes_nothing_in_dagster(dagster: str) -> None:
    """No GET executes; a POST of another origin, host or type is refused; the own page's is executed."""
    foreign = {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    for headers in (foreign, {}, {"Accept": "image/*", "Sec-Fetch-Site": "cross-site"}):
        answer = get(f"{dagster}/graphql", params={"query": MUTATION}, headers=headers)
        assert answer.status_code in (403, 405), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    graphiql = get(f"{dagster}/graphql", params={"query": MUTATION}, headers={"Accept": "text/html"})
    assert graphiql.status_code == 200
    assert "reloadWorkspace" not in graphiql.text
    body = {"query": MUTATION}
    assert post(f"{dagster}/graphql", json=body, headers={"Origin": "http://evil.example"}).status_code == 403
    assert post(f"{dagster}/graphql", json=body, headers={"Host": "evil.example"}).status_code == 403
    assert post(f"{dagster}/graphql", content=MUTATION, headers={"Content-Type": "text/plain"}).status_code == 415
    own = post(f"{dagster}/graphql", json=body, headers={"Origin": dagster, "Sec-Fetch-Site": "same-origin"})
    assert own.json()["data"]["reloadWorkspace"]["__typename"] == "Workspace"


def test_dagsters_page_is_shown_and_not_framed(dagster: str) -> None:
    """A link from elsewhere opens it."""
    link = {"Accept": "text/html", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    page = get(f"{dagster}/runs", headers=link | {"Sec-Fetch-Dest": "document"}, follow_redirects=True)
    assert page.status_code == 200
    assert page.headers["x-frame-options"] == "SAMEORIGIN"
    assert get(f"{dagster}/runs", headers=link | {"Sec-Fetch-Dest": "iframe"}).status_code == 403


def test_subscriptions_work_from_the_own_page_alone(dagster: str) -> None:
    """Dagster's pages follow runs by GraphQL over a websocket."""
    url = dagster.replace("http", "ws") + "/graphql"
    with connect(url, subprotocols=["graphql-ws"], origin=dagster) as socket:  # type: ignore[arg-type, list-item]
        socket.send(json.dumps({"type": "connection_init", "payload": {}}))
        assert json.loads(socket.recv(timeout=20))["type"] == "connection_ack"
        query = "subscription { locationStateChangeEvents { event { message } } }"
        socket.send(json.dumps({"id": "1", "type": "start", "payload": {"query": query}}))
        post(f"{dagster}/graphql", json={"query": MUTATION})
        socket.send(json.dumps({"id": "1", "type": "stop"}))
    with pytest.raises(InvalidStatus):
        connect(url, subprotocols=["graphql-ws"], origin="http://evil.example")  # type: ignore[arg-type, list-item]


def test_admins_log_in_to_dagster(auth: Auth, tmp_path: Path) -> None:
    """Pages, websockets and programs need an admin; runs carry the account; read-only pages change nothing."""
    children, url = start_dagster(tmp_path, page_login="true", public_auth_url=auth.url)
    try:
        children.await_ready({"dagster": f"{url}/server_info"}, SECONDS)
        with httpx.Client(base_url=url, headers={"Origin": url}, timeout=SECONDS) as page:
            assert page.get("/runs", headers={"Accept": "text/html"}).headers["location"] == "/guard/login"
            assert page.post("/graphql", json={"query": "{ version }"}).status_code == 401
            with pytest.raises(InvalidStatus):
                connect(url.replace("http", "ws") + "/graphql", subprotocols=["graphql-ws"])  # type: ignore[list-item]
            wrong = page.post("/guard/login", data={"username": "ada", "password": "wrong"})
            assert wrong.status_code == 401
            assert "Wrong user name or password." in wrong.text
            assert page.post("/guard/login", data={"username": "bob", "password": PASSWORD}).status_code == 403
            form = {"username": "ada", "password": PASSWORD}
            foreign = page.post("/guard/login", data=form, headers={"Origin": "http://evil.example"})
            assert foreign.status_code == 403
            entered = page.post("/guard/login", data=form)
            assert entered.status_code == 303
            assert "HttpOnly" in entered.headers["set-cookie"]
            assert "SameSite=strict" in entered.headers["set-cookie"]
            assert page.post("/graphql", json={"query": "{ version }"}).json()["data"]["version"]
            selector = {"repositoryName": "__repository__", "repositoryLocationName": "jobs.py", "jobName": "idle"}
            parameters = {"selector": selector, "runConfigData": {}, "mode": "default"}
            launched = page.post("/graphql", json={"query": LAUNCH, "variables": {"executionParams": parameters}})
            launch = launched.json()["data"]["launchRun"]
            assert launch["__typename"] == "LaunchRunSuccess", launch
            tags = launch["run"]["tags"]
            assert {"key": USER_TAG, "value": "ada"} in tags
            page.post("/guard/logout", json={})
            assert page.post("/graphql", json={"query": "{ version }"}).status_code == 401
        programs = post(f"{url}/graphql", json={"query": "{ version }"}, headers=auth.headers("ada", PASSWORD))
        assert programs.status_code == 200
        assert post(f"{url}/graphql", json={"query": "{a}"}, headers=auth.headers("bob", PASSWORD)).status_code == 401
    finally:
        children.stop()


def test_read_only_dagster(tmp_path: Path) -> None:
    """Queries are answered, launching is refused."""
    children, url = start_dagster(tmp_path, page_read_only="true")
    try:
        children.await_ready({"dagster": f"{url}/server_info"}, SECONDS)
        selector = {"repositoryName": "__repository__", "repositoryLocationName": "jobs.py", "jobName": "idle"}
        parameters = {"selector": selector, "runConfigData": {}, "mode": "default"}
        body = {"query": LAUNCH, "variables": {"executionParams": parameters}}
        answer = post(f"{url}/graphql", json=body).json()
        assert answer["data"]["launchRun"]["__typename"] == "UnauthorizedError"
        assert post(f"{url}/graphql", json={"query": "{ version }"}).json()["data"]["version"]
        report = post(f"{url}/report_asset_materialization/a", json={})
        assert report.status_code == 403
    finally:
        children.stop()


def test_mlflows_pages_are_guarded(auth: Auth, tmp_path: Path) -> None:
    """A foreign page is refused, MLflow's own client works with the platform's token, a person logs in."""
    (tmp_path / "logs").mkdir()
    named = {
        "ACCIDENT_RECO_HOME": str(tmp_path),
        "ACCIDENT_RECO_PAGE_LOGIN": "true",
        "ACCIDENT_RECO_PUBLIC_AUTH_URL": auth.url,
        "MLFLOW_TRACKING_TOKEN": "a-token-of-the-platform",
    }
    children = Children(os.environ | named | {"PYTHONPATH": str(ROOT)}, tmp_path / "logs")
    port = free_port()
    try:
        health = start_mlflow(children, port, f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path / "artifacts"))
        children.await_ready({"mlflow": health}, SECONDS)
        url = f"http://127.0.0.1:{port}"
        create = f"{url}/api/2.0/mlflow/experiments/create"
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            assert post(create, json={"name": "x"}, headers=headers).status_code == 403
        assert post(create, json={"name": "x"}).status_code == 401
        script = "import mlflow; print(mlflow.create_experiment('mine'))"
        environ = os.environ | named | {"MLFLOW_TRACKING_URI": url}
        done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "1"
        with httpx.Client(base_url=url, headers={"Origin": url}, timeout=SECONDS) as page:
            assert page.get("/", headers={"Accept": "text/html"}).headers["location"] == "/guard/login"
            page.post("/guard/login", data={"username": "ada", "password": PASSWORD})
            found = page.get("/ajax-api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": "mine"})
            assert found.json()["experiment"]["experiment_id"] == "1"
    finally:
        children.stop()


def test_the_embedded_tracking_database_has_pages(tmp_path: Path) -> None:
    """They show what trainings wrote into the file, with its artifacts; people's own runs go through the same port."""
    (tmp_path / "logs").mkdir()
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    card = {"card.md": b"# Card"}
    run = TrackedRun("accidents", "trained", {"trees": 3}, {"roc_auc": 0.9}, {VERSION_TAG: "v"}, card)
    prepare_experiment(uri, "accidents", tmp_path / ARTIFACTS)
    run_id = log_alone(uri, run)
    port = free_port()
    named = {"ACCIDENT_RECO_HOME": str(tmp_path), "ACCIDENT_RECO_MLFLOW_PORT": str(port), "MLFLOW_TRACKING_URI": ""}
    children = Children(os.environ | named | {"PYTHONPATH": str(ROOT)}, tmp_path / "logs")
    settings = Settings.load(home=tmp_path, mlflow_port=port, mlflow_tracking_uri="")
    url = settings.mlflow_url
    try:
        children.start("mlflow", [sys.executable, "-m", "serving.guard.mlflow_server"])
        children.await_ready({"mlflow": readiness_urls(settings)["mlflow"]}, SECONDS)
        shown = get(url, headers={"Accept": "text/html"})
        assert (shown.status_code, shown.headers["x-frame-options"]) == (200, "SAMEORIGIN")
        assert "<title>MLflow</title>" in shown.text
        search = {"experiment_ids": ["1"]}
        foreign = post(f"{url}/ajax-api/2.0/mlflow/runs/search", json=search, headers={"Origin": "http://evil.example"})
        assert foreign.status_code == 403
        (found,) = post(f"{url}/ajax-api/2.0/mlflow/runs/search", json=search).json()["runs"]
        assert found["info"]["run_id"] == run_id
        assert get(f"{url}/get-artifact", params={"run_id": run_id, "path": "bundle/card.md"}).text == "# Card"
        client = mlflow.MlflowClient(tracking_uri=url)
        own = client.create_run(client.create_experiment("mine")).info.run_id
        client.log_text(own, "a note", "note.txt")
        assert [path.read_text() for path in (tmp_path / ARTIFACTS).rglob("note.txt")] == ["a note"]
    finally:
        children.stop()
