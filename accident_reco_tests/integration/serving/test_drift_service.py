"""The drift service over real HTTP: verdict, check on request, HTML report, history, gauges."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.reference import build_reference, reference_bytes
from accident_reco.lifecycle.store import ModelStore
from accident_reco.settings import Settings
from accident_reco.storage import drift_reports
from accident_reco.storage.objects import open_store
from accident_reco.storage.prediction_log import insert_predictions
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.drift_rows import build_report_row
from accident_reco_tests.support.live import live, wait_for
from serving.drift.app import create_app


def sample_columns(rng: np.random.Generator, rows: int, shift: int) -> dict[str, np.ndarray]:
    return {
        "hrmn": rng.integers(0, 24, rows) * 100,
        "vma": rng.choice([30, 50, 80], rows) + 30 * shift,
        "catu": rng.choice([1, 2, 3], rows, p=[0.2, 0.2, 0.6] if shift else [0.7, 0.2, 0.1]),
    }


@pytest.fixture
def champion(settings, warehouse) -> str:
    """A promoted version with the reference profile of unshifted traffic."""
    kinds = {"hrmn": "numeric", "vma": "numeric", "catu": "categorical"}
    profile = build_reference(sample_columns(np.random.default_rng(1), 4_000, 0), kinds)
    bundle = Bundle("accidents", {"reference.json": reference_bytes(profile)}, {}, {}, {"data_source": "sample"})
    models = ModelStore(open_store(settings.store))
    manifest = models.write(bundle)
    models.point(manifest, expected=None, run_id="r", reason="first")
    return manifest.version


def log_traffic(warehouse: Warehouse, shift: int, rows: int = 900) -> None:
    columns = sample_columns(np.random.default_rng(2), rows, shift)
    at = datetime.now(UTC)
    insert_predictions(
        warehouse,
        [
            {
                "id": f"{shift}-{i}",
                "request_id": f"{i}",
                "at": at - timedelta(milliseconds=i),
                "model": "accidents",
                "version": "v",
                "user_name": None,
                "source": "json",
                "status": 200,
                "score": 0.2,
                "answer": {},
                "latency_ms": 1.0,
                "inputs": {name: int(values[i]) for name, values in columns.items()},
            }
            for i in range(rows)
        ],
    )


@pytest.fixture
def client(settings, warehouse):
    with live(create_app(settings)) as running:
        yield running


def gauge(client: httpx.Client, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def test_check_on_request(client, champion, warehouse, settings) -> None:
    """Shifted traffic: verdict, figures, HTML report, history and gauges show the same report."""
    log_traffic(warehouse, shift=1)
    assert client.get("/monitoring/drift/accidents").json()["type"].endswith("no-report")
    now = client.get("/monitoring/drift/accidents?compute=true", timeout=60).json()
    assert now["status"] == "drift"
    assert now["reason"].startswith("2 of 3 features drifted (67%)")
    assert now["version"] == champion
    assert now["window"] == "now"
    assert {feature["name"] for feature in now["features"]} == {"hrmn", "vma", "catu"}
    assert client.get("/monitoring/drift/accidents").json() == now
    assert client.get(f"/monitoring/drift/accidents/reports/{now['id']}").json() == now
    users = next(feature for feature in now["features"] if feature["name"] == "catu")
    assert users["title"] == "Kind of road user"
    assert set(users["distribution"]["names"]) == {"Driver", "Passenger", "Pedestrian"}
    most = users["distribution"]["names"].index("Pedestrian")
    assert users["distribution"]["reference"][most] < 0.2 < users["distribution"]["window"][most]
    limits = next(feature for feature in now["features"] if feature["name"] == "vma")["distribution"]
    assert len(limits["edges"]) == len(limits["window"]) + 1

    page = client.get("/monitoring/drift/accidents/report")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'sha256-" in page.headers["content-security-policy"]
    assert "sandbox allow-scripts" in page.headers["content-security-policy"]
    assert '<section class="verdict red">' in page.text
    assert len(page.content) < 10_000_000
    assert client.get(f"/monitoring/drift/accidents/report?id={now['id']}").content == page.content

    stored = settings.home / "store" / "reports" / "drift" / "accidents" / f"{now['id']}.html"
    stored.write_bytes(page.content.replace(b"</body>", b"<script>alert(1)</script></body>"))
    altered = client.get("/monitoring/drift/accidents/report")
    assert b"alert(1)" in altered.content
    policy = altered.headers["content-security-policy"]
    assert policy == page.headers["content-security-policy"], "an altered page brings its own policy"

    history = client.get("/monitoring/drift/accidents/history").json()
    assert [report["id"] for report in history["reports"]] == [now["id"]]
    assert history["partitions"] == []
    assert gauge(client, 'drift_share{model="accidents"}') == pytest.approx(2 / 3)
    assert gauge(client, 'drift_alarm{model="accidents"}') == 1
    assert gauge(client, 'drift_status{model="accidents",status="drift"}') == 1
    assert gauge(client, 'drift_distance{feature="vma",model="accidents"}') > 0.3


def test_all_models_at_once(client, champion, warehouse) -> None:
    """One call for all: stored verdicts, or new ones; a model without a report has the reason."""
    empty = client.get("/monitoring/drift").json()
    assert empty["drifted"] == []
    assert empty["models"]["accidents"] == {
        "status": None,
        "reason": "There is no report yet; request one with ?compute=true.",
        "report": None,
    }
    log_traffic(warehouse, shift=1)
    now = client.get("/monitoring/drift?compute=true", timeout=60).json()
    assert now["drifted"] == ["accidents"]
    assert now["models"]["accidents"]["report"] == client.get("/monitoring/drift/accidents").json()
    assert "no champion" in now["models"]["movies"]["reason"]
    assert client.get("/monitoring/drift").json()["drifted"] == ["accidents"]


def test_a_threshold_of_ones_own(client, champion, warehouse) -> None:
    """Two of three features drifted: drift at 60 %, not at 70 %; the model's current report and its gauges stay."""
    log_traffic(warehouse, shift=1)
    current = client.post("/monitoring/drift/accidents", timeout=60).json()
    assert (current["status"], current["window"]) == ("drift", "now")
    url = "/monitoring/drift/accidents"
    verdicts = {share: client.post(f"{url}?threshold={share}", timeout=60).json() for share in (0.6, 0.7)}
    assert {share: report["status"] for share, report in verdicts.items()} == {0.6: "drift", 0.7: "warning"}
    assert {report["window"] for report in verdicts.values()} == {"custom"}
    assert verdicts[0.7]["thresholds"]["share"] == 0.7
    assert client.get(url).json() == current
    assert gauge(client, 'drift_alarm{model="accidents"}') == 1
    assert len(client.get(f"{url}/history").json()["reports"]) == 3
    for wrong in ("0", "1.5", "x"):
        assert client.post(f"{url}?threshold={wrong}").status_code == 422


def test_a_report_that_cannot_be_written_is_reported_as_missing(client, champion, warehouse, settings) -> None:
    """The verdict is served with the reason why it has no HTML; the next check writes it."""
    log_traffic(warehouse, shift=1)
    obstacle = settings.home / "store" / "reports"
    obstacle.write_bytes(b"")  # a file where the store needs a folder
    first = client.get("/monitoring/drift/accidents?compute=true", timeout=60).json()
    assert (first["status"], first["page"]) == ("drift", False)
    assert "could not be written" in first["page_problem"]
    missing = client.get("/monitoring/drift/accidents/report")
    assert missing.status_code == 404
    assert "could not be written" in missing.json()["detail"]
    obstacle.unlink()
    client.get("/monitoring/drift/accidents?compute=true", timeout=60)
    history = client.get("/monitoring/drift/accidents/history").json()["reports"]
    assert [(report["page"], report["page_problem"]) for report in history] == [(True, None), (True, None)]
    assert '<section class="verdict red">' in client.get(f"/monitoring/drift/accidents/report?id={first['id']}").text


def test_checks_on_request_are_not_evidence(client, champion, warehouse) -> None:
    """Parallel requests share one check, and the retrain policy counts none of them."""
    log_traffic(warehouse, shift=1)
    with ThreadPoolExecutor(5) as pool:
        url = "/monitoring/drift/accidents?compute=true"
        answers = list(pool.map(lambda _: client.get(url, timeout=60).json()["id"], range(5)))
    assert len(set(answers)) < 5
    assert drift_reports.recent_verdicts(warehouse, "accidents", champion) == []


def test_gauges_follow_scheduled_reports(client, champion, warehouse) -> None:
    """A report of Dagster shows in the gauges within seconds, and so does the next one."""
    performance = {
        "labels": 300,
        "dropped": True,
        "metrics": {"roc_auc": {"value": 0.7, "low": 0.65, "high": 0.75, "at_training": 0.8}},
    }
    row = build_report_row(
        version=champion,
        judged=4,
        drifted=3,
        drifted_share=0.75,
        document={"features": [], "performance": performance},
    )
    drift_reports.save_report(warehouse, row)
    wait_for(lambda: 'drift_share{model="accidents"} 0.75' in client.get("/metrics").text)
    assert gauge(client, 'live_performance{bound="high",metric="roc_auc",model="accidents"}') == 0.75
    assert gauge(client, 'live_performance_dropped{model="accidents"}') == 1
    green = row | {"id": "b" * 32, "status": "stable", "drifted_share": 0.0, "computed_at": datetime.now(UTC)}
    drift_reports.save_report(warehouse, green)
    wait_for(lambda: 'drift_share{model="accidents"} 0.0' in client.get("/metrics").text)
    assert gauge(client, 'drift_alarm{model="accidents"}') == 0


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/monitoring/drift/accidents", 404, "no-report"),
        ("/monitoring/drift/accidents/report", 404, "no-report"),
        ("/monitoring/drift/cars", 404, "no-such-model"),
        ("/monitoring/drift/cars/report", 404, "no-such-model"),
        ("/monitoring/drift/cars/history", 404, "no-such-model"),
        ("/monitoring/drift/..%2f..%2fkeys/report", 404, None),
        ("/monitoring/drift/accidents/report?id=../../production.json", 422, "invalid-request"),
        ("/monitoring/drift/accidents/report?id=" + "0" * 32, 404, "no-report"),
        ("/monitoring/drift/accidents/history?limit=0", 422, "invalid-request"),
        ("/monitoring/drift/accidents?compute=perhaps", 422, "invalid-request"),
        ("/monitoring/drift/movies?compute=true", 409, "nothing-to-compare"),
    ],
)
def test_missing_resources(client, path, status, kind) -> None:
    """Problems with their kind; no part of a path reaches the store."""
    answer = client.get(path)
    assert answer.status_code == status
    if kind:
        assert answer.json()["type"] == f"urn:accident-reco:problem:{kind}"


def test_a_partition_of_the_request(client, champion) -> None:
    """One that is not stored, and a comparison with one without the partition to compare."""
    missing = client.post("/monitoring/drift/accidents?partition=2031", timeout=60)
    assert (missing.status_code, missing.json()["type"].rpartition(":")[2]) == (409, "nothing-to-compare")
    assert "2031 is not in the store" in missing.json()["detail"]
    assert client.post("/monitoring/drift/accidents?against=2031").status_code == 422


def test_a_report_belongs_to_one_model(client, warehouse, champion) -> None:
    """The report of one model does not exist under the path of another."""
    log_traffic(warehouse, shift=0)
    row = client.get("/monitoring/drift/accidents?compute=true", timeout=60).json()
    assert row["status"] == "stable"
    assert client.get(f"/monitoring/drift/movies/report?id={row['id']}").status_code == 404


def test_warehouse_failure_is_503(tmp_path) -> None:
    """503 and not ready without tables or database."""
    settings = Settings.load(home=tmp_path, auth_required=False)
    with live(create_app(settings), ready=False) as client:
        wait_for(lambda: client.get("/readyz").status_code == 503)
        assert client.get("/monitoring/drift/accidents").status_code == 503


def test_imports_are_light() -> None:
    """Neither Dagster nor a training or plotting stack is imported before the first check."""
    import subprocess
    import sys

    code = (
        "import sys; import serving.drift.app; "
        "heavy = {'dagster', 'mlflow', 'evidently', 'surprise', 'sklearn', 'lightgbm', 'implicit', 'pandas'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.perf_counter() - started < 30
