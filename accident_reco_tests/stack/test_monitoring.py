"""Prometheus rules, Alertmanager routing and the Dagster exporter, by the programs that will run them."""

import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from accident_reco.defs.exporter import serve
from accident_reco.launch import stack_servers as servers
from accident_reco.launch.processes import Children, free_port
from accident_reco.launch.stack_config import DEPLOY, addresses, alertmanager_config, prometheus_config
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.store import ModelStore
from accident_reco.settings import Settings
from accident_reco.storage.lifecycle import request_work
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse

pytestmark = pytest.mark.stack
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
CASES = DEPLOY / "prometheus" / "tests" / "rules_test.yml"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_rule_holds_its_cases() -> None:
    """promtool plays each alert's series: silent before, firing after, with labels and words; no alert has no case."""
    _run("promtool", "check", "rules", *map(str, RULES))
    _run("promtool", "test", "rules", str(CASES))
    alerts = {
        rule["alert"]: rule
        for path in RULES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test.get("alert_rule_test", [])]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == set(alerts)
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == set(alerts)
    for name, rule in alerts.items():
        assert rule["labels"]["severity"] in {"info", "warning", "page"}, name
        assert set(rule["annotations"]) == {"summary", "description"}, name


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ({"alertname": "DatasetDrift", "severity": "warning", "action": "retrain"}, "drift-service,people"),
        ({"alertname": "ModelStale", "severity": "warning", "action": "retrain"}, "drift-service,people"),
        ({"alertname": "TargetDown", "severity": "page"}, "people"),
        ({"alertname": "Anything", "severity": "info"}, "nobody"),
        ({"alertname": "Unlabelled"}, "people"),
    ],
)
def test_alerts_go_where_they_should(labels: dict[str, str], receivers: str) -> None:
    """amtool asks the routing tree: drift reaches the drift service and a person, noise reaches nobody."""
    config = str(DEPLOY / "alertmanager" / "alertmanager.yml")
    _run("amtool", "check-config", config)
    said = _run(
        "amtool", "config", "routes", "test", f"--config.file={config}", *(f"{k}={v}" for k, v in labels.items())
    )
    assert said.strip() == receivers


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with one promoted model, an open request and a Dagster run."""
    home = tmp_path_factory.mktemp("monitored")
    names = ("auth", "predict", "drift", "exporter", "prometheus", "alertmanager")
    return Settings(home=home, **{f"{name}_port": free_port() for name in names})


@pytest.fixture(scope="module")
def exporter(settings: Settings) -> Iterator[str]:
    """The exporter over HTTP."""
    warehouse = Warehouse(settings.database)
    warehouse.upgrade()
    request_work(warehouse, kind="training", model="movies", source="api", requested_by="ada", reason="asked")
    models = ModelStore(open_store(settings.store))
    manifest = models.write(Bundle("movies", {"arrays.npz": b"x"}, {}, {"rmse": 0.87, "note": "text"}, {}))
    models.point(manifest, seen=None, run_id="r", reason="first")

    @dg.asset
    def made() -> None:
        return None

    @dg.asset
    def broken() -> None:
        raise ValueError("on purpose")

    instance = dg.DagsterInstance.local_temp(str(settings.home))
    dg.materialize([made], instance=instance)
    dg.materialize([broken], instance=instance, raise_on_error=False)
    server = serve(settings, instance)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{settings.exporter_port}"
    server.shutdown()
    thread.join()
    server.server_close()
    instance.dispose()
    warehouse.close()


def test_the_exporter_tells_runs_assets_champions_and_requests(exporter: str) -> None:
    """What the rules and dashboards ask for is there, with the values of the instance."""
    text = urllib.request.urlopen(f"{exporter}/metrics").read().decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    job = "__ephemeral_asset_job__"
    assert lines[f'dagster_runs_ended_total{{job_name="{job}",status="success"}}'] == "1.0"
    assert lines[f'dagster_runs_ended_total{{job_name="{job}",status="failure"}}'] == "1.0"
    assert 'dagster_asset_last_materialization_timestamp_seconds{asset="made"}' in lines
    assert lines['work_requests_open{kind="training",model="movies"}'] == "1.0"
    holdout = next(name for name in lines if name.startswith("model_holdout_metric"))
    assert 'metric="rmse"' in holdout
    assert lines[holdout] == "0.87"
    assert [lines[name] for name in lines if name.startswith("dagster_exporter_errors_total")] == ["0.0"] * 5
    again = urllib.request.urlopen(f"{exporter}/metrics").read().decode()
    assert f'dagster_runs_ended_total{{job_name="{job}",status="success"}} 1.0' in again


class _Hook(BaseHTTPRequestHandler):
    """Stands where the drift service listens: keeps what arrives."""

    got: list[tuple[str, str, dict[str, Any]]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.got.append((self.path, self.headers["Authorization"], body))
        self.send_response(202)
        self.end_headers()

    def do_GET(self) -> None:
        """What the drift service exports of a drifted dataset."""
        body = b'drift_alarm{model="accidents"} 1\ndrift_alarm{model="movies"} 0\n'
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def test_a_drift_gauge_reaches_the_webhook(
    settings: Settings, exporter: str, children: Children, stack_folder: Path, tmp_path: Path
) -> None:
    """Gauge → scrape → rule → Alertmanager → `POST /alerts` with the bearer secret, by the deployment's own files."""
    hook = type("Hook", (_Hook,), {"got": []})
    receiver = HTTPServer(("127.0.0.1", settings.drift_port), hook)
    thread = threading.Thread(target=receiver.serve_forever)
    thread.start()
    secret = tmp_path / "secret"
    secret.write_text("only-between-us")
    known = addresses(settings, node=free_port(), postgres=free_port())
    config = tmp_path / "prometheus.yml"
    document = yaml.safe_load(prometheus_config(known, interval="1s"))
    quick = tmp_path / "quick.yml"
    alerts = (DEPLOY / "prometheus" / "rules" / "alerts.yml").read_text().replace("for: 1m", "for: 0s")
    quick.write_text(alerts)
    document["rule_files"] = [str(quick), *(str(path) for path in RULES if path.name != "alerts.yml")]
    config.write_text(yaml.safe_dump(document))
    _run("promtool", "check", "config", str(config))
    routing = tmp_path / "alertmanager.yml"
    routing.write_text(alertmanager_config(known, secret, group_wait="0s"))
    ready = {
        "prometheus": servers.start_prometheus(children, tmp_path / "p", settings.prometheus_port, config),
        "alertmanager": servers.start_alertmanager(children, tmp_path / "a", settings.alertmanager_port, routing),
    }
    try:
        children.await_ready(ready, 30)
        deadline = time.monotonic() + 40
        while not hook.got and time.monotonic() < deadline:
            children.check()
            threading.Event().wait(0.2)
        path, authorization, body = hook.got[0]
        assert (path, authorization, body["version"]) == ("/alerts", "Bearer only-between-us", "4")
        (alert,) = [a for a in body["alerts"] if a["labels"]["alertname"] == "DatasetDrift"]
        assert (alert["status"], alert["labels"]["model"]) == ("firing", "accidents")
        scraped: set[str] = set()
        while not scraped >= {"dagster", "drift", "alertmanager"}:
            # Each target has its own phase within the interval, and the exporter's first answer takes a while.
            assert time.monotonic() < deadline, f"only {scraped} are up"
            targets = _api(settings, "targets")["activeTargets"]
            scraped = {t["labels"]["job"] for t in targets if t["health"] == "up"}
            threading.Event().wait(0.2)
    finally:
        children.kill("prometheus")
        children.kill("alertmanager")
        receiver.shutdown()
        thread.join()
        receiver.server_close()


def _api(settings: Settings, path: str) -> Any:
    url = f"http://127.0.0.1:{settings.prometheus_port}/api/v1/{path}"
    return json.load(urllib.request.urlopen(url))["data"]
