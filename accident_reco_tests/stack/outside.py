"""What a person outside asks the containers of compose: one thing that each is there for."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from typing import Any

import httpx
import psycopg2
import pytest
import yaml
from sqlalchemy import make_url

from accident_reco.launch.stack_config import DEPLOY
from accident_reco_tests.serving.live import wait_for
from accident_reco_tests.stack.engine import Engine

ALLOY = (DEPLOY / "loki" / "alloy.alloy").read_text()


class Stack:
    """The containers, and what a person outside asks them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def secret(self, name: str) -> str:
        return self.engine.secrets[name].read_text()

    def log(self, name: str) -> str:
        return self.engine.running[name].log.read_text()

    def ask(self, service: str, port: int, path: str, method: str = "GET", **more: Any) -> httpx.Response:
        """One HTTP request at the service's own address."""
        url = f"http://{self.engine.addresses[service]}:{port}{path}"
        return self.engine.inside(lambda: httpx.request(method, url, timeout=20, **more))

    def graphql(self, query: str) -> Any:
        answer = self.ask("dagster", 8080, "/graphql", "POST", json={"query": query}).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def token(self) -> dict[str, str]:
        """Headers of the admin, logged in with compose's secret."""
        login = {"username": "admin", "password": self.secret("admin_password")}
        answer = self.ask("auth", 7999, "/token", "POST", data=login)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def send_alert(self) -> None:
        """What Prometheus would tell Alertmanager, which waits for others of its kind before it passes it on."""
        labels = {"alertname": "DatasetDrift", "model": "movies", "action": "retrain", "severity": "warning"}
        sent = self.ask("alertmanager", 9093, "/api/v2/alerts", "POST", json=[{"labels": labels}])
        assert sent.status_code == 200, sent.text

    def python(self, service: str, code: str) -> str:
        """What a piece of Python says in a container."""
        done = self.engine.execute(service, ["python", "-c", code])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def _postgres(stack: Stack) -> None:
    """Each role logs in over the network with its own password, and with no other."""

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
    assert len(urls) == 7
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
    """An experiment, made under the name that others call it by; an artifact handed through to S3; no other name."""
    (published,) = stack.engine.services["mlflow"]["ports"]
    seen = stack.ask("mlflow", 5000, "/", headers={"Host": published.rsplit(":", 1)[0]})
    assert seen.status_code == 200, "where a browser on this machine reaches it"
    here = {"Host": "mlflow:5000"}
    made = stack.ask("mlflow", 5000, "/api/2.0/mlflow/experiments/create", "POST", json={"name": "try"}, headers=here)
    assert made.status_code == 200, made.text
    path = "/api/2.0/mlflow-artifacts/artifacts/try/card.md"
    assert stack.ask("mlflow", 5000, path, "PUT", content=b"# Card", headers=here).status_code == 200
    assert stack.ask("mlflow", 5000, path, headers=here).content == b"# Card"
    refused = stack.ask("mlflow", 5000, "/api/2.0/mlflow/experiments/search?max_results=1", headers={"Host": "other"})
    assert refused.status_code == 403


def _prepare(stack: Stack) -> None:
    """It ended well (the others waited for it), and the stated password is nobody's business."""
    assert "prepared" in stack.log("prepare").splitlines()
    assert stack.secret("admin_password") not in stack.log("prepare")


def _code(stack: Stack) -> None:
    """The web server has its definitions from it."""
    query = "{workspaceOrError {... on Workspace {locationEntries {name loadStatus locationOrLoadError {__typename}}}}}"
    (entry,) = stack.graphql(query)["workspaceOrError"]["locationEntries"]
    assert (entry["name"], entry["loadStatus"]) == ("accident_reco", "LOADED")
    assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation"


def _dagster(stack: Stack) -> None:
    """The graph is there."""
    keys = {
        "/".join(node["assetKey"]["path"]) for node in stack.graphql("{assetNodes {assetKey {path}}}")["assetNodes"]
    }
    assert {"accidents/production_model", "movies/production_model"} <= keys


def _daemon(stack: Stack) -> None:
    """Every daemon that the instance wants is alive."""
    query = "{instance {daemonHealth {allDaemonStatuses {daemonType required healthy}}}}"

    def ailing() -> list[str]:
        found = stack.graphql(query)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return [daemon["daemonType"] for daemon in found if daemon["required"] and not daemon["healthy"]]

    wait_for(lambda: ailing() == [], 60)


def _redis(stack: Stack) -> None:
    """It knows its password, and does nothing without."""

    def talk(words: str) -> bytes:
        with socket.create_connection((stack.engine.addresses["redis"], 6379), timeout=5) as connection:
            connection.sendall(words.encode())
            return connection.recv(200)

    assert stack.engine.inside(lambda: talk("PING\r\n")).startswith(b"-NOAUTH")
    password = stack.secret("redis_password")
    assert stack.engine.inside(lambda: talk(f"AUTH {password}\r\nINFO server\r\n")).startswith(b"+OK\r\n")


def _worker(stack: Stack) -> None:
    """The step of the run that a sensor asks for (there is a year to ingest) is done by it, and well."""
    query = """{runsOrError(filter: {pipelineName: "ingest_accidents"}) {... on Runs {results {
        status runId stepStats {stepKey status}}}}}"""

    def succeeded() -> list[Any]:
        runs = stack.graphql(query)["runsOrError"]["results"]
        return [run for run in runs if run["status"] == "SUCCESS"]

    wait_for(succeeded, 180)
    (run,) = succeeded()
    by_worker = [entry for entry in as_alloy(stack.log("worker")) if entry and entry.get("run_id") == run["runId"]]
    assert any("2022" in entry["event"] for entry in by_worker), by_worker


def _exporter(stack: Stack) -> None:
    """It reads Dagster, the warehouse and the store without an error."""
    text = stack.ask("exporter", 9400, "/metrics").text
    errors = re.findall(r"^dagster_exporter_errors_total\{.*\} (\S+)$", text, re.MULTILINE)
    assert errors
    assert set(errors) == {"0.0"}, text


def _auth(stack: Stack) -> None:
    """The first admin logs in with compose's secret."""
    assert stack.token()
    assert stack.ask("auth", 7999, "/token", "POST", data={"username": "admin", "password": "x"}).status_code == 401


def _predict(stack: Stack) -> None:
    """It verifies a token by the keys that it has from the auth service; no model was trained yet, and it says so."""
    assert stack.ask("predict", 8000, "/models").status_code == 401
    assert stack.ask("predict", 8000, "/models", headers=stack.token()).status_code == 200
    schemes = stack.ask("predict", 8000, "/openapi.json").json()["components"]["securitySchemes"].values()
    (login,) = [scheme["flows"]["password"]["tokenUrl"] for scheme in schemes if scheme["type"] == "oauth2"]
    (published,) = stack.engine.services["auth"]["ports"]
    assert login == f"http://{published.rsplit(':', 1)[0]}/token", "where a browser on this machine reaches it"
    ready = stack.ask("predict", 8000, "/readyz")
    assert ready.status_code == 503
    assert "accidents" in ready.text


def _drift(stack: Stack) -> None:
    """It reads the warehouse for whoever may."""
    path = "/monitoring/drift/accidents/history"
    assert stack.ask("drift", 8001, path).status_code == 401
    assert stack.ask("drift", 8001, path, headers=stack.token()).status_code == 200


def _prometheus(stack: Stack) -> None:
    """Every target of the configuration is scraped under compose's name, every rule loaded, Alertmanager known."""

    def api(path: str) -> Any:
        return stack.ask("prometheus", 9090, f"/api/v1/{path}").json()["data"]

    jobs = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"]

    def up() -> set[str]:
        found = api("targets?state=active")["activeTargets"]
        return {target["labels"]["job"] for target in found if target["health"] == "up"}

    wait_for(lambda: up() == {job["job_name"] for job in jobs}, 60)
    files = sorted((DEPLOY / "prometheus/rules").glob("*.yml"))
    wanted = [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
    assert sum(len(group["rules"]) for group in api("rules")["groups"]) == len(wanted)
    assert [entry["url"] for entry in api("alertmanagers")["activeAlertmanagers"]] == [
        "http://alertmanager:9093/api/v2/alerts"
    ]


def _alertmanager(stack: Stack) -> None:
    """The alert that asks for a training gets through to the drift service, by name and with compose's secret."""

    def received() -> bool:
        return 'alerts_total{outcome="' in stack.ask("drift", 8001, "/metrics").text

    wait_for(received, 30)


def _postgres_exporter(stack: Stack) -> None:
    """It is logged in."""
    assert "\npg_up 1\n" in stack.ask("postgres-exporter", 9187, "/metrics").text


def _node_exporter(stack: Stack) -> None:
    """It sees the machine's processors and, below the mounted root, its disk."""
    text = stack.ask("node-exporter", 9100, "/metrics").text
    assert "\nnode_cpu_seconds_total{" in text
    assert re.search(r'^node_filesystem_size_bytes\{.*mountpoint="/"\} ', text, re.MULTILINE)


ANSWERS: dict[str, Callable[[Stack], None]] = {
    "postgres": _postgres,
    "s3": _s3,
    "mlflow": _mlflow,
    "prepare": _prepare,
    "redis": _redis,
    "exporter": _exporter,
    "auth": _auth,
    "predict": _predict,
    "drift": _drift,
    "alertmanager": _alertmanager,
    "postgres-exporter": _postgres_exporter,
    "node-exporter": _node_exporter,
    "prometheus": _prometheus,
    "code": _code,
    "dagster": _dagster,
    "daemon": _daemon,
    "worker": _worker,
}


def as_alloy(output: str) -> list[dict[str, str] | None]:
    """What the stages of the configuration make of a container's output: extracted fields, None for what is no JSON."""
    (first,) = re.findall(r"firstline\s+= `(.+)`", ALLOY)
    (dropped,) = re.findall(r"expression = `(.+)`", ALLOY)
    (fields,) = re.findall(r"expressions = \{(.+?)\}", ALLOY, re.DOTALL)
    wanted = dict(re.findall(r'(\w+)\s+= "(\w+)"', fields))
    blocks: list[str] = []
    for line in output.splitlines():
        if re.match(first, line) or not blocks:
            blocks.append(line)
        else:
            blocks[-1] += "\n" + line
    made: list[dict[str, str] | None] = []
    for block in blocks:
        if re.match(dropped, block):
            continue
        try:
            said = json.loads(block)
        except json.JSONDecodeError:
            made.append(None)
            continue
        made.append({name: str(said[key]) for name, key in wanted.items() if key in said} | {"event": said["event"]})
    return made
