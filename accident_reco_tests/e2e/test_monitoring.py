"""Prometheus rules, Alertmanager routing and the Dagster exporter, each by its own program."""

import json
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import dagster as dg
import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from accident_reco.defs.exporter import build_app, build_server
from accident_reco.drift.alert_secret import load_alert_secret
from accident_reco.launch import stack_servers as servers
from accident_reco.launch.processes import Children, free_port
from accident_reco.launch.stack_config import DEPLOY, addresses, alertmanager_config, prometheus_config
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.store import ModelStore
from accident_reco.settings import Settings
from accident_reco.storage import drift_reports, retrain_decisions
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import advance_request, open_requests, request_work
from accident_reco_tests.support.drift_rows import build_report_row
from accident_reco_tests.support.live import live, wait_for
from serving.drift.app import create_app

pytestmark = pytest.mark.e2e
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
CASES = DEPLOY / "prometheus" / "tests" / "rules_test.yml"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_pass_their_cases() -> None:
    """promtool evaluates each alert's series: inactive before, firing after, with labels and annotations."""
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
        assert set(rule["annotations"]) == {"summary", "description", "dashboard_url"}, name


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ({"alertname": "DatasetDrift", "severity": "warning", "action": "retrain"}, "drift-service,operators"),
        ({"alertname": "ModelStale", "severity": "warning", "action": "retrain"}, "drift-service,operators"),
        ({"alertname": "TargetDown", "severity": "page"}, "operators"),
        ({"alertname": "Anything", "severity": "info"}, "none"),
        ({"alertname": "Unlabelled"}, "operators"),
    ],
)
def test_alerts_are_routed(labels: dict[str, str], receivers: str) -> None:
    """By amtool: drift reaches the drift service and operators, severity info has no receiver."""
    config = str(DEPLOY / "alertmanager" / "alertmanager.yml")
    _run("amtool", "check-config", config)
    output = _run(
        "amtool", "config", "routes", "test", f"--config.file={config}", *(f"{k}={v}" for k, v in labels.items())
    )
    assert output.strip() == receivers


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with one promoted model, an open request and a Dagster run."""
    home = tmp_path_factory.mktemp("monitored")
    names = ("auth", "predict", "drift", "exporter", "prometheus", "alertmanager")
    return Settings.load(home=home, **{f"{name}_port": free_port() for name in names})


@pytest.fixture(scope="module")
def exporter(settings: Settings) -> Iterator[str]:
    """The exporter over HTTP."""
    warehouse = Warehouse(settings.database)
    warehouse.upgrade()
    request_work(warehouse, kind="training", model="movies", source="api", requested_by="ada", reason="requested")
    models = ModelStore(open_store(settings.store))
    manifest = models.write(Bundle("movies", {"arrays.npz": b"x"}, {}, {"rmse": 0.87, "note": "text"}, {}))
    models.point(manifest, expected=None, run_id="r", reason="first")

    @dg.asset
    def made() -> None:
        return None

    @dg.asset
    def broken() -> None:
        raise ValueError("on purpose")

    instance = dg.DagsterInstance.local_temp(str(settings.home))
    dg.materialize([made], instance=instance)
    dg.materialize([broken], instance=instance, raise_on_error=False)
    server = build_server(settings, instance)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{settings.exporter_port}"
    server.shutdown()
    thread.join()
    server.server_close()
    instance.dispose()
    warehouse.close()


def test_exporter_exports_runs_assets_champions_and_requests(exporter: str) -> None:
    """The metrics of rules and dashboards, with the values of the instance."""
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


def test_exporter_is_live_and_serves_two_paths(exporter: str) -> None:
    """`/livez` reads nothing; every other path is not found, so that a mistyped probe fails."""
    assert urllib.request.urlopen(f"{exporter}/livez").read() == b"ok\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{exporter}/")


def test_one_scrape_at_a_time() -> None:
    """A second scrape waits for the first one; the liveness does not."""
    inside, leave, overlaps = threading.Event(), threading.Event(), []

    class Slow(Collector):
        def describe(self) -> list[Metric]:
            return []

        def collect(self) -> list[Metric]:
            overlaps.append(inside.is_set() and not leave.is_set())
            inside.set()
            assert leave.wait(20)
            return []

    registry = CollectorRegistry()
    registry.register(Slow())
    app = build_app(registry)

    def get(path: str) -> bytes:
        environ: dict[str, Any] = {"PATH_INFO": path}
        setup_testing_defaults(environ)
        return b"".join(app(environ, lambda *_: None))

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(get, "/metrics")
        assert inside.wait(20)
        second = pool.submit(get, "/metrics")
        assert get("/livez") == b"ok\n"
        assert not second.done()
        leave.set()
        assert first.result(20) == second.result(20) == b""
    assert overlaps == [False, False]


@contextmanager
def drift_service(settings: Settings) -> Iterator[Warehouse]:
    """The drift service at its configured address, with a report of drift."""
    warehouse = Warehouse(settings.database)
    row = build_report_row(judged=4, drifted=3, drifted_share=0.75)
    drift_reports.save_report(warehouse, row)
    with live(create_app(settings), port=settings.drift_port):
        yield warehouse
    warehouse.close()


def hold_back(warehouse: Warehouse, request: dict[str, Any], seconds: float) -> None:
    """Close a request as the sensor does when the retrain policy holds it back for some seconds."""
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    retrain_decisions.record_decision(
        warehouse,
        {
            "model": "accidents",
            "source": "alert",
            "trigger_id": request["id"],
            "action": "wait",
            "rule": "cooldown",
            "reason": "cooling down",
            "detail": {"until": until.isoformat()},
            "request_id": None,
        },
    )
    advance_request(warehouse, request["id"], "done", outcome="cooling down")


def test_drift_gauge_requests_a_training_repeatedly(
    settings: Settings, exporter: str, children: Children, tmp_path: Path
) -> None:
    """Gauge → scrape → rule → Alertmanager → `POST /alerts` with the bearer secret, by the deployment's own files.

    A firing alert that was held back requests again when the hold is over; an accepted one does not.
    """
    secret = tmp_path / "secret"
    secret.write_text(load_alert_secret(settings))
    known = addresses(settings, node=free_port(), postgres=free_port(), s3_metrics=free_port())
    config = tmp_path / "prometheus.yml"
    document = yaml.safe_load(prometheus_config(known, interval="1s"))
    quick = tmp_path / "quick.yml"
    alerts = (DEPLOY / "prometheus" / "rules" / "alerts.yml").read_text().replace("for: 1m", "for: 0s")
    quick.write_text(alerts)
    document["rule_files"] = [str(quick), *(str(path) for path in RULES if path.name != "alerts.yml")]
    config.write_text(yaml.safe_dump(document))
    _run("promtool", "check", "config", str(config))
    routing = tmp_path / "alertmanager.yml"
    routing.write_text(alertmanager_config(known, secret, every="1s"))
    with drift_service(settings) as warehouse:
        ready = {
            "prometheus": servers.start_prometheus(children, tmp_path / "p", settings.prometheus_port, config),
            "alertmanager": servers.start_alertmanager(children, tmp_path / "a", settings.alertmanager_port, routing),
        }
        try:
            children.await_ready(ready, 30)
            first = _await_request(warehouse)
            assert first["reason"].startswith("DatasetDrift fires: accidents: incoming data has drifted")
            hold_back(warehouse, first, seconds=1)
            second = _await_request(warehouse)
            assert second["id"] != first["id"]
            advance_request(warehouse, second["id"], "refused")
            before = _replayed(settings)
            wait_for(lambda: _replayed(settings) >= before + 2, 40)
            assert _accident_requests(warehouse) == []
            wait_for(lambda: {"dagster", "drift", "alertmanager"} <= _up(settings), 40)
        finally:
            children.kill("prometheus")
            children.kill("alertmanager")


def _accident_requests(warehouse: Warehouse) -> list[dict[str, Any]]:
    return [request for request in open_requests(warehouse, "training") if request["model"] == "accidents"]


def _await_request(warehouse: Warehouse) -> dict[str, Any]:
    wait_for(lambda: bool(_accident_requests(warehouse)), 40)
    (request,) = _accident_requests(warehouse)
    return request


def _replayed(settings: Settings) -> float:
    text = urllib.request.urlopen(f"http://127.0.0.1:{settings.drift_port}/metrics").read().decode()
    samples = [line for line in text.splitlines() if line.startswith('alerts_total{outcome="replayed"}')]
    return float(samples[0].rsplit(" ", 1)[1]) if samples else 0.0


def _up(settings: Settings) -> set[str]:
    """Jobs that Prometheus has scraped."""
    return {
        target["labels"]["job"] for target in _api(settings, "targets")["activeTargets"] if target["health"] == "up"
    }


def _api(settings: Settings, path: str) -> Any:
    url = f"http://127.0.0.1:{settings.prometheus_port}/api/v1/{path}"
    return json.load(urllib.request.urlopen(url))["data"]
