"""Every panel of every dashboard has data from real servers: Prometheus that scraped the services, PostgreSQL with rows
that the platform wrote, read by Grafana's role."""

import asyncio
import json
import re
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import numpy as np
import pytest
import yaml
from sqlalchemy import text

from accident_reco.definitions import defs
from accident_reco.launch import stack_servers as servers
from accident_reco.launch.processes import Children, free_port
from accident_reco.launch.stack_config import DEPLOY, prometheus_config
from accident_reco.lifecycle.gate import GatePolicy
from accident_reco.lifecycle.model_metrics import record_model_metrics
from accident_reco.lifecycle.promotion import promote
from accident_reco.lifecycle.reference import build_reference, reference_bytes
from accident_reco.lifecycle.store import ModelStore
from accident_reco.models.accidents.sample import sample_year
from accident_reco.registry import database_access
from accident_reco.settings import Settings
from accident_reco.storage import alerts, retrain_decisions
from accident_reco.storage.objects import open_store
from accident_reco.storage.prediction_log import add_feedback, insert_predictions
from accident_reco.storage.roles import ensure_databases, grant
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import request_work
from accident_reco_tests.e2e.conftest import Postgres
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.real_accidents import random_columns, real_bundle
from accident_reco_tests.support.real_movies import movie_bundle
from serving.console.figures import FIGURES, Reading
from serving.console.prometheus import Prometheus

pytestmark = pytest.mark.e2e
BOARDS = {path.name: json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json"))}

AFTER_TWO_SCRAPES = (
    "model:predictions:rate5m{model='accidents'} > 0",
    "model:predictions:rate5m{model='movies'} > 0",
    "job:http_errors:ratio5m",
    "drift_share",
    "rate(node_cpu_seconds_total[5m])",
    "pg_stat_activity_count",
    "dagster_job_last_duration_seconds",
)


def _panels(source: str) -> list[Any]:
    return [
        pytest.param(panel, id=f"{name}:{panel['title']}")
        for name, board in BOARDS.items()
        for panel in board["panels"]
        if panel["type"] != "row" and panel["datasource"]["uid"] == source
    ]


def test_json_is_generated() -> None:
    """The JSON agrees with the code; every panel has a description, a query and a known data source."""
    sys.path.insert(0, str(DEPLOY / "grafana"))
    try:
        from make_dashboards import rendered  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    assert rendered() == {p.name: p.read_text() for p in (DEPLOY / "grafana/dashboards").glob("*.json")}
    assert len(BOARDS) >= 5
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/accident_reco.yml").read_text())["datasources"]
    kinds = {source["uid"]: source["type"] for source in sources}
    for board in BOARDS.values():
        panels = [panel for panel in board["panels"] if panel["type"] != "row"]
        assert len({panel["title"] for panel in panels}) == len(panels)
        for panel in panels:
            assert panel["description"], panel["title"]
            assert panel["targets"], panel["title"]
            assert kinds[panel["datasource"]["uid"]] == panel["datasource"]["type"]


@dataclass(frozen=True)
class Filled:
    """A warehouse that the platform filled, services that ran, and Prometheus over them."""

    reader: Warehouse
    prometheus: str


@pytest.fixture(scope="module")
def filled(
    postgres: Postgres, children: Children, stack_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Filled]:
    """The platform's own jobs on small sample data, then its services under traffic."""
    from accident_reco.defs.exporter import build_server
    from accident_reco_tests.support.loaders import LOADERS
    from serving.auth.app import create_app as auth_app
    from serving.auth.bootstrap import ensure_admin
    from serving.console.app import create_app as console_app
    from serving.drift.app import create_app as drift_app
    from serving.predict.app import create_app as predict_app

    home = tmp_path_factory.mktemp("boards")
    owner = postgres.url("boards", "boards", "pass").render_as_string(hide_password=False)
    reader = postgres.url("boards", "boards_reader", "pass").render_as_string(hide_password=False)
    ensure_databases(postgres.url().render_as_string(hide_password=False), [owner], [reader])
    variables = {
        "ACCIDENT_RECO_HOME": str(home),
        "ACCIDENT_RECO_DATABASE_URL": owner,
        "ACCIDENT_RECO_AUTH_REQUIRED": "false",
        "ACCIDENT_RECO_ACCIDENTS_SOURCE": str(_published(home)),
        "ACCIDENT_RECO_MOVIES_SAMPLE_RATINGS": "2000",
        "ACCIDENT_RECO_EXPORTER_PORT": str(free_port()),
    }
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in variables.items():
            patch.setenv(name, value)
        settings = Settings.load()
        warehouse = Warehouse(owner)
        warehouse.upgrade()
        grant(warehouse, {"reader": "boards_reader"}, database_access(Settings.load()))
        (home / "dagster").mkdir()
        instance = stack.enter_context(dg.DagsterInstance.local_temp(str(home / "dagster")))
        models = ModelStore(open_store(settings.store))
        _run_jobs(instance, "2022")
        _write_history(warehouse, models)
        ensure_admin(settings)
        server = build_server(settings, instance)
        clients = {
            "auth:7999": stack.enter_context(live(auth_app(settings))),
            "predict:8000": stack.enter_context(live(predict_app(settings, LOADERS))),
            "drift:8001": stack.enter_context(live(drift_app(settings))),
            "console:8002": stack.enter_context(live(console_app(settings))),
        }
        answer = clients["drift:8001"].get("/monitoring/drift/accidents?compute=true", timeout=60)
        assert answer.status_code == 200, answer.text
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        stack.callback(lambda: (server.shutdown(), thread.join(), server.server_close()))
        known = {name: client.base_url.netloc.decode() for name, client in clients.items()}
        known["exporter:9400"] = f"127.0.0.1:{settings.exporter_port}"
        node, database, port, other = free_port(), free_port(), free_port(), free_port()
        servers.start_node_exporter(children, node)
        servers.start_postgres_exporter(children, database, postgres.port, postgres.password)
        known |= {"node-exporter:9100": f"127.0.0.1:{node}", "postgres-exporter:9187": f"127.0.0.1:{database}"}
        known |= {"alertmanager:9093": f"127.0.0.1:{other}", "localhost:9090": f"127.0.0.1:{port}"}
        config = home / "prometheus.yml"
        config.write_text(prometheus_config(known, interval="1s"))
        children.await_ready({"p": servers.start_prometheus(children, home / "prometheus", port, config)}, 30)
        for name in ("prometheus", "postgres-exporter", "node-exporter"):
            stack.callback(children.kill, name)
        base = f"http://127.0.0.1:{port}"
        predict = clients["predict:8000"]

        def has_values() -> bool:
            """Send traffic; whether every service was scraped twice meanwhile."""
            assert predict.post("/predict/accidents", json={"records": [{"catu": 3}]}).status_code == 200
            assert predict.post("/predict/movies", json={"user_id": 1, "count": 3}).status_code == 200
            time.sleep(0.2)
            return all(_query(base, expression) for expression in AFTER_TWO_SCRAPES)

        wait_for(has_values, 40)
        filled = Filled(Warehouse(reader), base)
        wait_for(lambda: _count(filled.reader, "predictions") > 900, 20)
        yield filled
        filled.reader.close()
        warehouse.close()


def _published(folder: Path) -> Path:
    """A year as published, with one road user whose severity is not in the codebook."""
    published = folder / "published"
    published.mkdir()
    for table, file in sample_year(2022, 400).items():
        data = file.data
        if table == "usagers":
            head, *lines = data.decode().splitlines()
            fields = lines[0].split(";")
            fields[head.split(";").index('"grav"')] = '"7"'
            data = "\n".join([head, ";".join(fields), *lines[1:], ""]).encode()
        (published / file.name).write_bytes(data)
    return published


def _run_jobs(instance: dg.DagsterInstance, year: str) -> None:
    platform = defs()
    span = {"dagster/asset_partition_range_start": year, "dagster/asset_partition_range_end": year}
    assert platform.resolve_job_def("ingest_accidents").execute_in_process(instance=instance, tags=span).success
    assert platform.resolve_job_def("load_accidents").execute_in_process(instance=instance).success
    assert platform.resolve_job_def("ingest_movies").execute_in_process(instance=instance).success


def _write_history(warehouse: Warehouse, models: ModelStore) -> None:
    """A promotion, logged predictions, a drift report, decisions, requests, an alert."""
    columns = random_columns(900)
    kinds = {"vma": "numeric", "catu": "categorical", "lum": "categorical"}
    profile = build_reference({name: columns[name] for name in kinds}, kinds)
    bundle = real_bundle(rounds=5, rows=600)
    bundle = replace(
        bundle, files={**bundle.files, "reference.json": reference_bytes(profile)}, metrics={"roc_auc": 0.8}
    )
    made = promote(models, warehouse, bundle, lambda *_: None, GatePolicy("roc_auc", True, 0.5, 0.0), "r1")
    promote(models, warehouse, movie_bundle(2_000), lambda *_: None, GatePolicy("ndcg_at_10", True, 0.0, 0.0), "r2")
    record_model_metrics(models, warehouse, "accidents")
    at = datetime.now(UTC)
    rows = [
        {
            "id": f"p{n}",
            "request_id": f"{n}",
            "at": at - timedelta(seconds=n),
            "model": "accidents",
            "version": made.version,
            "user_name": "ada",
            "source": "json",
            "status": 200,
            "score": 0.2,
            "answer": {},
            "latency_ms": 1.0,
            "inputs": {name: int(columns[name][n]) for name in kinds},
        }
        for n in range(900)
    ]
    insert_predictions(warehouse, rows)
    for n in range(250):
        add_feedback(
            warehouse,
            {
                "prediction_id": f"p{n}",
                "model": "accidents",
                "severity": 3 if n % 5 == 0 else 1,
                "grave": n % 5 == 0,
                "user_name": "ada",
                "predicted_at": at,
                "at": at,
            },
        )
    request, _ = request_work(
        warehouse, kind="training", model="movies", source="api", requested_by="ada", reason="requested"
    )
    retrain_decisions.record_decision(
        warehouse,
        {
            "model": "accidents",
            "source": "drift",
            "trigger_id": "t",
            "action": "wait",
            "rule": "hysteresis",
            "reason": "1 of 3",
            "detail": {},
            "request_id": None,
            "decided_at": at,
        },
    )
    alerts.save_alert(
        warehouse,
        {
            "id": "a" * 64,
            "model": "accidents",
            "name": "DatasetDrift",
            "summary": "s",
            "request_id": request["id"],
        },
    )


def _query(base: str, expression: str) -> list[Any]:
    url = f"{base}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    answer = json.load(urllib.request.urlopen(url))
    assert answer["status"] == "success", answer
    return [sample for sample in answer["data"]["result"] if not np.isnan(float(sample["value"][1]))]


def _count(warehouse: Warehouse, table: str) -> int:
    with warehouse.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


@pytest.mark.parametrize("panel", _panels("prometheus"))
def test_promql_returns_values(filled: Filled, panel: dict[str, Any]) -> None:
    """Every expression is valid, and every panel shows at least one value."""
    found = {target["expr"]: _query(filled.prometheus, target["expr"]) for target in panel["targets"]}
    assert any(found.values()), found


@pytest.mark.parametrize("panel", _panels("warehouse"))
def test_sql_returns_rows(filled: Filled, panel: dict[str, Any]) -> None:
    """Every statement runs as the reading role and returns rows; time series have a time."""
    (target,) = panel["targets"]
    sql = re.sub(
        r"\$__timeFilter\((\w+)\)",
        r"\1 BETWEEN now() - interval '90 years' AND now() + interval '1 day'",
        target["rawSql"],
    )
    assert "$" not in sql
    with filled.reader.connect() as connection:
        rows = connection.execute(text(sql.replace(":", r"\:"))).mappings().all()
    assert rows, sql
    if target["format"] == "time_series":
        assert isinstance(rows[0]["time"], datetime)
    if panel["type"] == "barchart":
        assert isinstance(next(iter(rows[0].values())), str)


def test_the_console_reads_its_figures_from_prometheus(filled: Filled) -> None:
    """Every expression of the page Monitoring is valid and finds values: no chart is empty where Prometheus runs."""

    async def read() -> Reading:
        async with httpx.AsyncClient(base_url=filled.prometheus) as client:
            return await Prometheus(client).read(1)

    reading = asyncio.run(read())
    assert reading.problem == ""
    measured = {
        key for key, lines in reading.lines.items() if any(any(v is not None for v in line) for line in lines.values())
    }
    assert measured == {figure.key for figure in FIGURES}
    assert {"auth", "predict", "drift", "console"} >= set(reading.lines["requests"]) >= {"predict"}
    gone = asyncio.run(Prometheus(httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_port()}")).read(1))
    assert "does not answer" in gone.problem
