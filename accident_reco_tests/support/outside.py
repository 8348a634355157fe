"""Checks of the containers of compose from outside: the main function of each service."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any

import httpx
import psycopg2
import pytest
import yaml
from sqlalchemy import make_url

from accident_reco.launch.stack_config import DEPLOY, ONLY_CONTAINERS
from accident_reco_tests.support.alloy import Entry, send
from accident_reco_tests.support.engine import Engine
from accident_reco_tests.support.live import wait_for


class Stack:
    """The containers, with the requests of a client."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def secret(self, name: str) -> str:
        return self.engine.secrets[name].read_text()

    def log(self, name: str) -> str:
        return self.engine.running[name].log.read_text()

    def entries(self, name: str) -> list[Entry]:
        """What Loki receives of the service's log."""
        return send(self.log(name).splitlines(), name, f"accident-reco-{name}-1")

    def request(self, service: str, port: int, path: str, method: str = "GET", **more: Any) -> httpx.Response:
        """An HTTP request to the service's own address."""
        url = f"http://{self.engine.addresses[service]}:{port}{path}"
        return self.engine.inside(lambda: httpx.request(method, url, timeout=20, **more))

    def graphql(self, query: str) -> Any:
        # The guard in front of the page knows it by the service's name, not by the address of the container.
        named = {"Host": "dagster:8080"}
        answer = self.request("dagster", 8080, "/graphql", "POST", json={"query": query}, headers=named).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def token(self) -> dict[str, str]:
        """Headers of the admin, with a login by compose's secret."""
        login = {"username": "admin", "password": self.secret("admin_password")}
        answer = self.request("auth", 7999, "/token", "POST", data=login)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def send_alert(self) -> None:
        """Send an alert to Alertmanager as Prometheus does."""
        labels = {"alertname": "DatasetDrift", "model": "movies", "action": "retrain", "severity": "warning"}
        sent = self.request("alertmanager", 9093, "/api/v2/alerts", "POST", json=[{"labels": labels}])
        assert sent.status_code == 200, sent.text

    def python(self, service: str, code: str) -> str:
        """Output of Python code in a container."""
        done = self.engine.execute(service, ["python", "-c", code])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def _postgres(stack: Stack) -> None:
    """Each role logs in over the network with its own password only."""

    def login(name: str, password: str = "") -> None:
        url = make_url(stack.secret(name))
        made = psycopg2.connect(
            host=stack.engine.addresses["postgres"],
            port=url.port,
            dbname=url.database,
            user=url.username,
            password=password or url.password,
        )
        made.close()

    urls = [name for name in stack.engine.secrets if name.endswith("database_url") or name == "database_admin_url"]
    assert len(urls) == 8
    for name in urls:
        stack.engine.inside(lambda name=name: login(name))
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            stack.engine.inside(lambda name=name: login(name, "guess"))


def _s3(stack: Stack) -> None:
    """The platform's own client, with the variables and the credentials file of the container."""
    client = "from accident_reco.settings import Settings; from accident_reco.storage.objects import open_store; "
    tried = "store = open_store(Settings.load().store); store.write('probe', b'kept'); print(store.read('probe'))"
    assert stack.python("code", client + tried) == "b'kept'"


def _mlflow(stack: Stack) -> None:
    """An experiment, created by the server's name in the network; an artifact proxied to S3; no other host name."""
    (published,) = stack.engine.services["mlflow"]["ports"]
    seen = stack.request("mlflow", 5000, "/", headers={"Host": published.rsplit(":", 1)[0]})
    assert seen.status_code == 200, "published address"
    here = {"Host": "mlflow:5000"}
    made = stack.request(
        "mlflow", 5000, "/api/2.0/mlflow/experiments/create", "POST", json={"name": "try"}, headers=here
    )
    assert made.status_code == 200, made.text
    path = "/api/2.0/mlflow-artifacts/artifacts/try/card.md"
    assert stack.request("mlflow", 5000, path, "PUT", content=b"# Card", headers=here).status_code == 200
    assert stack.request("mlflow", 5000, path, headers=here).content == b"# Card"
    rejected = stack.request(
        "mlflow", 5000, "/api/2.0/mlflow/experiments/search?max_results=1", headers={"Host": "other"}
    )
    assert rejected.status_code == 403


def _prepare(stack: Stack) -> None:
    """It succeeded, and the admin's password is not in its log."""
    assert "prepared" in stack.log("prepare").splitlines()
    assert stack.secret("admin_password") not in stack.log("prepare")


def _code(stack: Stack) -> None:
    """The web server loads the definitions from it."""
    query = "{workspaceOrError {... on Workspace {locationEntries {name loadStatus locationOrLoadError {__typename}}}}}"
    (entry,) = stack.graphql(query)["workspaceOrError"]["locationEntries"]
    assert (entry["name"], entry["loadStatus"]) == ("accident_reco", "LOADED")
    assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation"


def _dagster(stack: Stack) -> None:
    """The web server serves the asset graph."""
    keys = {
        "/".join(node["assetKey"]["path"]) for node in stack.graphql("{assetNodes {assetKey {path}}}")["assetNodes"]
    }
    assert {"accidents/production_model", "movies/production_model"} <= keys


def _daemon(stack: Stack) -> None:
    """Every required daemon is healthy."""
    query = "{instance {daemonHealth {allDaemonStatuses {daemonType required healthy}}}}"

    def unhealthy() -> list[str]:
        found = stack.graphql(query)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return [daemon["daemonType"] for daemon in found if daemon["required"] and not daemon["healthy"]]

    wait_for(lambda: unhealthy() == [], 60)


def _redis(stack: Stack) -> None:
    """It requires its password."""

    def send(words: str) -> bytes:
        with socket.create_connection((stack.engine.addresses["redis"], 6379), timeout=5) as connection:
            connection.sendall(words.encode())
            return connection.recv(200)

    assert stack.engine.inside(lambda: send("PING\r\n")).startswith(b"-NOAUTH")
    password = stack.secret("redis_password")
    assert stack.engine.inside(lambda: send(f"AUTH {password}\r\nINFO server\r\n")).startswith(b"+OK\r\n")


def _worker(stack: Stack) -> None:
    """It executes the step of the run that a sensor requests (a year to ingest), successfully."""
    query = """{runsOrError(filter: {pipelineName: "ingest_accidents"}) {... on Runs {results {
        status runId stepStats {stepKey status}}}}}"""

    def succeeded() -> list[Any]:
        runs = stack.graphql(query)["runsOrError"]["results"]
        return [run for run in runs if run["status"] == "SUCCESS"]

    wait_for(succeeded, 180)
    (run,) = succeeded()
    by_worker = [entry for entry in stack.entries("worker") if entry.metadata.get("run_id") == run["runId"]]
    assert any("2022" in entry.json()["event"] for entry in by_worker), by_worker


def _exporter(stack: Stack) -> None:
    """It reads Dagster, the warehouse and the store without errors."""
    text = stack.request("exporter", 9400, "/metrics").text
    errors = re.findall(r"^dagster_exporter_errors_total\{.*\} (\S+)$", text, re.MULTILINE)
    assert errors
    assert set(errors) == {"0.0"}, text


def _auth(stack: Stack) -> None:
    """The first admin logs in with compose's secret."""
    assert stack.token()
    assert stack.request("auth", 7999, "/token", "POST", data={"username": "admin", "password": "x"}).status_code == 401


def _predict(stack: Stack) -> None:
    """It verifies tokens by the keys of the auth service; it is not ready, as no model was trained."""
    assert stack.request("predict", 8000, "/models").status_code == 401
    assert stack.request("predict", 8000, "/models", headers=stack.token()).status_code == 200
    schemes = stack.request("predict", 8000, "/openapi.json").json()["components"]["securitySchemes"].values()
    (login,) = [scheme["flows"]["password"]["tokenUrl"] for scheme in schemes if scheme["type"] == "oauth2"]
    (published,) = stack.engine.services["auth"]["ports"]
    assert login == f"http://{published.rsplit(':', 1)[0]}/token", "published address"
    ready = stack.request("predict", 8000, "/readyz")
    assert ready.status_code == 503
    assert "accidents" in ready.text


def _drift(stack: Stack) -> None:
    """It reads the warehouse for authorized clients."""
    path = "/monitoring/drift/accidents/history"
    assert stack.request("drift", 8001, path).status_code == 401
    assert stack.request("drift", 8001, path, headers=stack.token()).status_code == 200


def _console(stack: Stack) -> None:
    """An admin logs in with compose's secret and sees both models, by the other services' names in the network."""
    login = {"username": "admin", "password": stack.secret("admin_password")}
    entered = stack.request("console", 8002, "/login", "POST", data=login)
    assert (entered.status_code, entered.headers["location"]) == (303, "/"), entered.text
    page = stack.request("console", 8002, "/", cookies=dict(entered.cookies))
    assert page.status_code == 200
    assert "/m/accidents" in page.text
    assert 'role="alert"' not in page.text, "every service answers"


def _prometheus(stack: Stack) -> None:
    """Every target is scraped by compose's name, every rule is loaded, Alertmanager is configured."""

    def api(path: str) -> Any:
        return stack.request("prometheus", 9090, f"/api/v1/{path}").json()["data"]

    jobs = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"]

    def up() -> set[str]:
        found = api("targets?state=active")["activeTargets"]
        return {target["labels"]["job"] for target in found if target["health"] == "up"}

    wait_for(lambda: up() == {job["job_name"] for job in jobs} - ONLY_CONTAINERS, 60)
    files = sorted((DEPLOY / "prometheus/rules").glob("*.yml"))
    wanted = [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
    assert sum(len(group["rules"]) for group in api("rules")["groups"]) == len(wanted)
    assert [entry["url"] for entry in api("alertmanagers")["activeAlertmanagers"]] == [
        "http://alertmanager:9093/api/v2/alerts"
    ]


def _alertmanager(stack: Stack) -> None:
    """The alert that requests a training reaches the drift service, with compose's secret."""

    def received() -> bool:
        return 'alerts_total{outcome="' in stack.request("drift", 8001, "/metrics").text

    wait_for(received, 30)


def _postgres_exporter(stack: Stack) -> None:
    """It is connected."""
    assert "\npg_up 1\n" in stack.request("postgres-exporter", 9187, "/metrics").text


def _node_exporter(stack: Stack) -> None:
    """It exports the machine's processors and, below the mounted root, its disk."""
    text = stack.request("node-exporter", 9100, "/metrics").text
    assert "\nnode_cpu_seconds_total{" in text
    assert re.search(r'^node_filesystem_size_bytes\{.*mountpoint="/"\} ', text, re.MULTILINE)


CHECKS: dict[str, Callable[[Stack], None]] = {
    "postgres": _postgres,
    "s3": _s3,
    "mlflow": _mlflow,
    "prepare": _prepare,
    "redis": _redis,
    "exporter": _exporter,
    "auth": _auth,
    "predict": _predict,
    "drift": _drift,
    "console": _console,
    "alertmanager": _alertmanager,
    "postgres-exporter": _postgres_exporter,
    "node-exporter": _node_exporter,
    "prometheus": _prometheus,
    "code": _code,
    "dagster": _dagster,
    "daemon": _daemon,
    "worker": _worker,
}
