"""The drift service over real HTTP: verdict, computing now, page, history, gauges, alerts."""

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
from accident_reco.storage import drift as loop
from accident_reco.storage.inference import insert_predictions
from accident_reco.storage.lifecycle import advance_request, open_requests
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.serving.live import live, wait_for
from serving.drift.app import create_app
from serving.drift.secret import alert_secret, matches


def people(rng: np.random.Generator, rows: int, shift: int) -> dict[str, np.ndarray]:
    return {
        "hrmn": rng.integers(0, 24, rows) * 100,
        "vma": rng.choice([30, 50, 80], rows) + 30 * shift,
        "catu": rng.choice([1, 2, 3], rows, p=[0.2, 0.2, 0.6] if shift else [0.7, 0.2, 0.1]),
    }


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path, auth_required=False, drift_sample_rows=100, metrics_public=True)


@pytest.fixture
def warehouse(settings):
    made = Warehouse(settings.database)
    made.upgrade()
    yield made
    made.close()


@pytest.fixture
def champion(settings, warehouse) -> str:
    """A promoted version with the reference profile of unshifted people."""
    kinds = {"hrmn": "numeric", "vma": "numeric", "catu": "categorical"}
    profile = build_reference(people(np.random.default_rng(1), 4_000, 0), kinds)
    bundle = Bundle("accidents", {"reference.json": reference_bytes(profile)}, {}, {}, {"data_source": "sample"})
    models = ModelStore(open_store(settings.store))
    manifest = models.write(bundle)
    models.point(manifest, seen=None, run_id="r", reason="first")
    return manifest.version


def traffic(warehouse: Warehouse, shift: int, rows: int = 900) -> None:
    columns = people(np.random.default_rng(2), rows, shift)
    at = datetime.now(UTC)
    insert_predictions(warehouse, [
        {
            "id": f"{shift}-{i}", "request_id": f"{i}", "at": at - timedelta(milliseconds=i), "model": "accidents",
            "version": "v", "source": "json", "status": 200, "score": 0.2, "answer": {}, "latency_ms": 1.0,
            "inputs": {name: int(values[i]) for name, values in columns.items()},
        }
        for i in range(rows)
    ])  # fmt: skip


@pytest.fixture
def client(settings, warehouse):
    with live(create_app(settings)) as made:
        yield made


def gauge(client: httpx.Client, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def test_compute_now_and_read_it_back(client, champion, warehouse) -> None:
    """Red traffic: verdict, figures, page under its policy, history and gauges all tell the same report."""
    traffic(warehouse, shift=1)
    assert client.get("/monitoring/drift/accidents").json()["type"].endswith("no-report")
    now = client.get("/monitoring/drift/accidents?compute=true", timeout=60).json()
    assert now["status"] == "drift"
    assert now["reason"].startswith("2 of 3 features drifted (67%)")
    assert now["version"] == champion
    assert now["window"] == "now"
    assert {feature["name"] for feature in now["features"]} == {"hrmn", "vma", "catu"}
    assert client.get("/monitoring/drift/accidents").json() == now

    page = client.get("/monitoring/drift/accidents/report")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'sha256-" in page.headers["content-security-policy"]
    assert "sandbox allow-scripts" in page.headers["content-security-policy"]
    assert '<section class="verdict red">' in page.text
    assert len(page.content) < 10_000_000
    assert client.get(f"/monitoring/drift/accidents/report?id={now['id']}").content == page.content

    history = client.get("/monitoring/drift/accidents/history").json()
    assert [report["id"] for report in history["reports"]] == [now["id"]]
    assert gauge(client, 'drift_share{model="accidents"}') == pytest.approx(2 / 3)
    assert gauge(client, 'drift_alarm{model="accidents"}') == 1
    assert gauge(client, 'drift_status{model="accidents",status="drift"}') == 1
    assert gauge(client, 'drift_distance{feature="vma",model="accidents"}') > 0.3


def test_asking_often_is_no_evidence(client, champion, warehouse) -> None:
    """Whoever asks five times at once gets one check, and the retrain policy counts none of it."""
    traffic(warehouse, shift=1)
    with ThreadPoolExecutor(5) as pool:
        url = "/monitoring/drift/accidents?compute=true"
        answers = list(pool.map(lambda _: client.get(url, timeout=60).json()["id"], range(5)))
    assert len(set(answers)) < 5
    assert loop.recent_verdicts(warehouse, "accidents", champion) == []


def test_gauges_follow_what_the_schedule_computed(client, champion, warehouse) -> None:
    """A report that Dagster wrote shows in the gauges within seconds, and so does the next, green one."""
    row = {
        "id": "a" * 32, "model": "accidents", "version": champion, "data_source": "sample", "window_name": "log",
        "status": "drift", "reason": "r", "rows": 5000, "groups": None, "judged": 4, "drifted": 3,
        "drifted_share": 0.75, "run_id": "run", "computed_at": datetime.now(UTC),
        "document": {"features": [], "performance": {"labels": 300, "dropped": True, "metrics": {
            "roc_auc": {"value": 0.7, "low": 0.65, "high": 0.75, "at_training": 0.8}}}},
    }  # fmt: skip
    loop.save_report(warehouse, row)
    wait_for(lambda: 'drift_share{model="accidents"} 0.75' in client.get("/metrics").text)
    assert gauge(client, 'live_performance{bound="high",metric="roc_auc",model="accidents"}') == 0.75
    assert gauge(client, 'live_performance_dropped{model="accidents"}') == 1
    green = row | {"id": "b" * 32, "status": "stable", "drifted_share": 0.0, "computed_at": datetime.now(UTC)}
    loop.save_report(warehouse, green)
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
def test_what_is_not_there(client, path, status, kind) -> None:
    """Problems with their kind; no name from a path reaches the store."""
    answer = client.get(path)
    assert answer.status_code == status
    if kind:
        assert answer.json()["type"] == f"urn:accident-reco:problem:{kind}"


def test_another_models_report_is_not_shown(client, warehouse, champion) -> None:
    """An id of the accident model's report under the movies' address: there is no such report."""
    traffic(warehouse, shift=0)
    row = client.get("/monitoring/drift/accidents?compute=true", timeout=60).json()
    assert row["status"] == "stable"
    assert client.get(f"/monitoring/drift/movies/report?id={row['id']}").status_code == 404


def alert(number: int = 0, status: str = "firing", model: str | None = "accidents", start: str = "t0") -> dict:
    labels = {"alertname": "ModelDrift", "number": str(number)} | ({"model": model} if model else {})
    return {"status": status, "labels": labels, "annotations": {"summary": "share 0.8"}, "startsAt": start,
            "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://x", "fingerprint": f"f{number}"}  # fmt: skip


def post(client: httpx.Client, settings: Settings, *alerts: dict, secret: str | None = None) -> httpx.Response:
    payload = {"version": "4", "groupKey": "g", "truncatedAlerts": 0, "status": "firing", "receiver": "drift-service",
               "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://am",
               "alerts": list(alerts)}  # fmt: skip
    bearer = alert_secret(settings) if secret is None else secret
    return client.post("/alerts", json=payload, headers={"Authorization": f"Bearer {bearer}"})


def test_an_alert_makes_one_request(client, settings, warehouse) -> None:
    """Sent again, and again after the training has ended: no second request for the same firing."""
    answer = post(client, settings, alert())
    assert answer.status_code == 202
    (request_id,) = answer.json()["requests"]
    assert answer.json()["queued"] == 1
    (request,) = open_requests(warehouse, "training")
    assert request["id"] == request_id
    assert (request["source"], request["reason"]) == ("alert", "ModelDrift fires: share 0.8")
    again = post(client, settings, alert()).json()
    assert (again["replayed"], again["requests"]) == (1, [request_id])
    advance_request(warehouse, request_id, "promoted")
    assert post(client, settings, alert()).json()["replayed"] == 1
    assert open_requests(warehouse, "training") == []
    assert post(client, settings, alert(start="t1")).json()["queued"] == 1


def test_a_storm_coalesces(client, settings, warehouse) -> None:
    """Hundreds of alerts, at once and in parallel: one request per model."""
    storm = post(client, settings, *(alert(i) for i in range(200)), *(alert(i, model="movies") for i in range(50)))
    assert storm.json()["queued"] == 2
    assert storm.json()["joined"] == 248
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: post(client, settings, alert(1_000 + i)), range(24)))
    assert len(open_requests(warehouse, "training")) == 2


def test_parallel_first_alerts_make_one_request(client, settings, warehouse) -> None:
    """Two notifications at the same moment see no open request, and still make one."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: post(client, settings, alert(i)).json(), range(16)))
    assert sum(answer["queued"] for answer in answers) == 1
    assert len(open_requests(warehouse, "training")) == 1


def test_resolved_and_foreign_alerts_ask_for_nothing(client, settings, warehouse) -> None:
    """`resolved` never triggers; an alert about no model of ours is counted and left."""
    answer = post(
        client, settings, alert(1, status="resolved"), alert(2, model=None), alert(3, model="../accidents")
    ).json()
    assert (answer["resolved"], answer["ignored"], answer["requests"]) == (1, 2, [])
    assert open_requests(warehouse) == []


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", "Basic {secret}", "{secret}", "Bearer {secret}x"]
)
def test_without_the_secret_nothing_happens(client, settings, warehouse, header) -> None:
    """Refused before the body is read, whatever the body is."""
    headers = {} if header is None else {"Authorization": header.format(secret=alert_secret(settings))}
    answer = client.post("/alerts", content=b"{broken", headers=headers | {"content-type": "application/json"})
    assert answer.status_code == 401
    assert open_requests(warehouse) == []


@pytest.mark.parametrize("body", [{}, {"version": "3", "alerts": []}, {"version": "4", "alerts": [{}]}, []])
def test_other_payloads_are_refused(client, settings, body) -> None:
    """Only version 4 of the webhook, in its shape."""
    headers = {"Authorization": f"Bearer {alert_secret(settings)}"}
    assert client.post("/alerts", json=body, headers=headers).status_code == 422


def test_the_secret_is_made_once_and_kept_to_its_owner(tmp_path) -> None:
    """Generated where no setting names one; file mode 0600; the setting wins."""
    settings = Settings(home=tmp_path)
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: alert_secret(settings), range(8)))
    assert len(made) == 1
    assert (tmp_path / "keys" / "alert-secret").stat().st_mode & 0o777 == 0o600
    assert alert_secret(Settings(home=tmp_path, alert_secret="stated")) == "stated"
    assert not matches("", "Bearer ")


def test_scopes(tmp_path) -> None:
    """With authentication on, reports need a token; alerts need only their secret."""
    settings = Settings(home=tmp_path, auth_port=1)
    warehouse = Warehouse(settings.database)
    warehouse.upgrade()
    warehouse.close()
    with live(create_app(settings)) as client:
        assert client.get("/monitoring/drift/accidents").status_code == 401
        assert client.get("/monitoring/drift/accidents/report").status_code == 401
        assert post(client, settings, alert()).status_code == 202


def test_a_dead_warehouse_is_told(tmp_path) -> None:
    """No tables (or no database): 503 problems and not ready, not a crash."""
    settings = Settings(home=tmp_path, auth_required=False)
    with live(create_app(settings), ready=False) as client:
        wait_for(lambda: client.get("/readyz").status_code == 503)
        assert client.get("/monitoring/drift/accidents").status_code == 503
        assert post(client, settings, alert()).status_code == 503


def test_the_process_starts_light() -> None:
    """Neither Dagster nor a training or drawing stack is loaded before somebody asks for a drawing."""
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
