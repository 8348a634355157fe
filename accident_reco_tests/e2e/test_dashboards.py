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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
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
from accident_reco.lifecycle.rollout.control import Plan, start
from accident_reco.lifecycle.rollout.decision import RolloutPolicy
from accident_reco.lifecycle.store import ModelStore
from accident_reco.models.accidents.assets.partitions import register_years
from accident_reco.models.accidents.sample import sample_year
from accident_reco.registry import database_access
from accident_reco.settings import Settings
from accident_reco.storage import alerts, retrain_decisions
from accident_reco.storage.objects import open_store
from accident_reco.storage.prediction_log import add_feedback, insert_predictions
from accident_reco.storage.roles import ensure_databases, grant
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import advance_request, request_work
from accident_reco_tests.e2e.conftest import Postgres
from accident_reco_tests.support.boards import BOARDS, fill_expression, fill_sql, panels
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.real_accidents import random_columns, real_bundle
from accident_reco_tests.support.real_movies import movie_bundle
from serving.console.figures import FIGURES, Reading
from serving.console.prometheus import Prometheus

pytestmark = pytest.mark.e2e
AFTER_TWO_SCRAPES = (
    "rate(predictions_total{model='accidents'}[1m]) > 0",
    "rate(predictions_total{model='movies'}[1m]) > 0",
    "rate(log_lines_total[1m])",
    "rate(rollout_comparisons_total[1m])",
    "drift_share",
    "rate(node_cpu_seconds_total[5m])",
    "pg_stat_activity_count",
    "dagster_job_last_duration_seconds",
)


def _panels(source: str) -> list[Any]:
    return [
        pytest.param(panel, id=f"{name}:{panel['title']}")
        for name, board in BOARDS.items()
        for panel in panels(board)
        if panel["datasource"]["uid"] == source
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
        shown = list(panels(board))
        assert len({panel["title"] for panel in shown}) == len(shown)
        for panel in shown:
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
        "ACCIDENT_RECO_ROLLOUT": "shadow",
        "ACCIDENT_RECO_ROLLOUT_SAMPLE": "1",
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
        away = ("alertmanager:9093", "console:8002", "dagster:8080", "mlflow:5000", "s3:9327")
        known |= dict.fromkeys(away, f"127.0.0.1:{other}") | {"localhost:9090": f"127.0.0.1:{port}"}
        config = home / "prometheus.yml"
        document = yaml.safe_load(prometheus_config(known, interval="1s"))
        lines = stack.enter_context(log_counters())
        document["scrape_configs"].append({"job_name": "alloy", "static_configs": [{"targets": [lines]}]})
        config.write_text(yaml.safe_dump(document))
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


LINES = """\
log_lines_total{{service="predict",level="info"}} {0}
log_lines_total{{service="code",level="error"}} {0}
loki_process_dropped_lines_total{{reason="tick"}} {0}
loki_write_dropped_entries_total{{reason="ingester_error"}} 0
loki_discarded_samples_total{{reason="rate_limited"}} 0
"""


@contextmanager
def log_counters() -> Iterator[str]:
    """The counters that Alloy and Loki expose, which have no package here, as they would count; yields the address."""
    scrapes = count(1)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = LINES.format(next(scrapes) * 7).encode()
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


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
    register_years(instance, [int(year)])
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
    assert made.pointer is not None
    other = real_bundle(rounds=4, rows=600)
    manifest = models.write(replace(other, files={**other.files, "reference.json": reference_bytes(profile)}))
    shadow = Plan("shadow", (), timedelta(days=1), RolloutPolicy())
    start(models, warehouse, manifest, made.pointer, shadow, run_id="r4", reason="better", now=datetime.now(UTC))
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
    rows[0] |= {"status": 503, "answer": None, "score": None}
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
                "predicted_at": rows[n]["at"],
                "at": at,
            },
        )
    request, _ = request_work(
        warehouse, kind="training", model="movies", source="api", requested_by="ada", reason="requested"
    )
    failed, _ = request_work(
        warehouse, kind="training", model="accidents", source="drift", requested_by="platform", reason="drift"
    )
    advance_request(warehouse, failed["id"], "failed", run_id="r3", outcome="run r3 ended as failure: the disk is full")
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


@pytest.fixture(scope="module")
def chosen(filled: Filled) -> dict[str, list[str]]:
    """All values of each variable, by its own query."""
    found: dict[str, list[str]] = {}
    for variable in (variable for board in BOARDS.values() for variable in board["templating"]["list"]):
        if variable["type"] == "query" and variable["datasource"]["uid"] == "warehouse":
            with filled.reader.connect() as connection:
                values = connection.execute(text(fill_sql(variable["query"], found))).scalars()
                found[variable["name"]] = list(values)
    return found


def test_variables_have_values(filled: Filled, chosen: dict[str, list[str]]) -> None:
    """A query of a variable runs as the reading role; services are those whose lines were counted."""
    assert chosen["model"] == ["accidents", "movies"]
    assert chosen["version"]
    assert chosen["department"]
    services = {sample["metric"]["service"] for sample in _query(filled.prometheus, "log_lines_total")}
    assert services == {"code", "predict"}


def test_annotations_show_what_happened(filled: Filled, chosen: dict[str, list[str]]) -> None:
    """The statements run as the reading role; a promotion is a line with its version and reason."""
    for board in BOARDS.values():
        for annotation in board["annotations"].get("list", ()):
            rows = _execute(filled, fill_sql(annotation["target"]["rawSql"], chosen))
            if annotation["name"] == "Promotions":
                assert {row["text"].split()[0] for row in rows} == {"accidents", "movies"}
                assert all(isinstance(row["time"], datetime) and "promoted" in row["text"] for row in rows)


def _execute(filled: Filled, sql: str) -> list[Any]:
    with filled.reader.connect() as connection:
        return list(connection.execute(text(sql.replace(":", r"\:"))).mappings().all())


@pytest.mark.parametrize("panel", _panels("prometheus"))
def test_promql_returns_values(filled: Filled, panel: dict[str, Any]) -> None:
    """Every expression is valid, and every panel shows at least one value."""
    found = {target["expr"]: _query(filled.prometheus, fill_expression(target["expr"])) for target in panel["targets"]}
    assert any(found.values()), found


@pytest.mark.parametrize("panel", _panels("warehouse"))
def test_sql_returns_rows(filled: Filled, chosen: dict[str, list[str]], panel: dict[str, Any]) -> None:
    """Every statement runs as the reading role and returns rows; time series have a time."""
    (target,) = panel["targets"]
    rows = _execute(filled, fill_sql(target["rawSql"], chosen))
    assert rows, target
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


Shown = dict[str, dict[str, Any]]
"""Column → `texts`, `colors` and `links`, as a person sees them, and the raw `values`."""


@pytest.fixture(scope="module")
def shown(filled: Filled, chosen: dict[str, list[str]], npm: Callable[[str, Any], Any]) -> dict[str, Shown]:
    """`dashboard:panel` → what Grafana's own data package shows of the real results."""
    results: dict[str, dict[str, list[Any]]] = {}
    frames = []
    for name, board in BOARDS.items():
        for panel in panels(board):
            if panel["datasource"]["uid"] == "warehouse":
                rows = _execute(filled, fill_sql(panel["targets"][0]["rawSql"], chosen))
                columns = {column: [_plain(row[column]) for row in rows] for column in rows[0]}
            elif panel["datasource"]["uid"] == "prometheus":
                samples = _query(filled.prometheus, fill_expression(panel["targets"][0]["expr"]))
                columns = {"Value": [float(sample["value"][1]) for sample in samples]}
                for label in sorted({label for sample in samples for label in sample["metric"]}):
                    columns[label] = [sample["metric"].get(label) for sample in samples]
            else:
                continue
            fields = [{"name": key, "type": _kind(values), "values": values} for key, values in columns.items()]
            results[f"{name}:{panel['title']}"] = columns
            frames.append({"fields": fields, "fieldConfig": panel["fieldConfig"]})
    found = npm("display.cjs", frames)["shown"]
    return {
        title: {column: texts[column] | {"values": values} for column, values in columns.items()}
        for (title, columns), texts in zip(results.items(), found, strict=True)
    }


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value.isoformat() if isinstance(value, datetime) else value


def _kind(values: list[Any]) -> str:
    known = next((value for value in values if value is not None), "")
    return "boolean" if isinstance(known, bool) else "number" if isinstance(known, int | float) else "string"


def test_years_ids_and_counts_read_as_they_are(shown: dict[str, Shown]) -> None:
    """A year reads 2022, not 2.02 K; a count has separators; no number of a table is rounded to thousands."""
    assert shown["accidents:Years loaded"]["year"]["texts"] == ["2022"]
    people = shown["accidents:Road users"]["people"]
    assert people["texts"] == [f"{people['values'][0]:,.0f}"]
    for title, columns in shown.items():
        for column in columns.values():
            assert not any(re.fullmatch(r"[\d.]+ (K|Mil|Bil)", value) for value in column["texts"]), title


def test_shares_read_as_percent_and_have_the_colour_of_their_step(shown: dict[str, Shown]) -> None:
    """0.173 reads 17.3 %, in tables, bars, stats and on the map."""
    severe = "killed or hospitalised"
    for title in ("Departments", "By department", "By road", "By light", "Killed or hospitalised"):
        column = shown[f"accidents:{title}"][severe]
        for words, value in zip(column["texts"], column["values"], strict=True):
            assert re.fullmatch(r"\d+\.\d%", words), words
            assert float(words[:-1]) == pytest.approx(100 * value, abs=0.051)
    column = shown["accidents:By department"][severe]
    steps = [(0.4, "red"), (0.25, "orange"), (0.15, "yellow"), (-1.0, "green")]
    names = [next(color for bound, color in steps if value >= bound) for value in column["values"]]
    by_name = dict(zip(names, column["colors"], strict=True))
    assert len(by_name) > 1
    assert column["colors"] == [by_name[name] for name in names]
    assert len(set(by_name.values())) == len(by_name)


def test_states_are_words_with_their_colour(shown: dict[str, Shown], npm: Callable[[str, Any], Any]) -> None:
    """Drift is red, a target that is away is red, an outcome is a word; on real values, and for both of a state."""
    drift = next(panel for panel in panels(BOARDS["drift"]) if panel["title"] == "Drift")
    values = {"name": "Value", "type": "number", "values": [0, 1]}
    answer = npm("display.cjs", [{"fields": [values], "fieldConfig": drift["fieldConfig"]}])
    red = answer["palette"]
    (both,) = answer["shown"]
    assert both["Value"]["texts"] == ["no drift", "drift"]
    assert both["Value"]["colors"][1] == red
    up = shown["api:Targets"]["Value"]
    colors = dict(zip(up["texts"], up["colors"], strict=True))
    assert set(colors) == {"up", "down"}
    assert colors["down"] == red != colors["up"]
    assert set(shown["drift:Drift"]["Value"]["texts"]) <= {"no drift", "drift"}
    gate = shown["models:Gate"]
    assert set(gate["action"]["texts"]) <= {"promoted", "rejected", "rolled back", "rollout started"}
    assert set(gate["promoted"]["texts"]) <= {"yes", "no"}
    failed = shown["logs:Failed runs and requests"]["status"]
    assert (failed["texts"], failed["colors"]) == (["failed"], [red])


def test_ids_are_links(shown: dict[str, Shown]) -> None:
    """Request → its log lines; run → Dagster; version → console, MLflow and its metrics."""
    assert shown["api:Failed predictions"]["request_id"]["links"] == ["/d/logs?var-request=${__value.raw}"]
    assert shown["logs:Failed runs and requests"]["run_id"]["links"] == ["${dagster}/runs/${__value.raw}"]
    for title in ("api:Latest predictions", "models:Gate", "models:Serving", "models:All versions", "drift:Reports"):
        links = shown[title]["version"]["links"]
        assert [link.split("/")[0] for link in links] == ["${console}", "${mlflow}", ""], title
