"""An installation with one model: its services have no endpoint of the other model and work in all that they have."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.alerts import build_alert, send_alerts
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.real_accidents import real_bundle
from accident_reco_tests.support.real_movies import movie_bundle
from accident_reco_tests.support.toy import promote
from serving.drift.app import create_app as create_drift_app
from serving.predict.app import create_app

REQUESTS = {
    "accidents": {"records": [{"catu": 1}]},
    "movies": {"user_id": 1},
}
INPUTS = {
    "accidents": [{"name": "catu", "shape": [1], "datatype": "INT32", "data": [1]}],
    "movies": [{"name": name, "shape": [1], "datatype": "INT64", "data": [1]} for name in ("user_id", "movie_id")],
}
OTHER = {"accidents": "movies", "movies": "accidents"}


@pytest.fixture(scope="module", params=OTHER)
def settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with champions of both models, and settings that choose one of them."""
    home = tmp_path_factory.mktemp("one")
    promote(home, real_bundle())
    promote(home, movie_bundle(3_000))
    chosen = Settings.load(home=home, models=request.param, auth_required=False, metrics_public=True)
    warehouse = Warehouse(chosen.database)
    warehouse.upgrade()
    warehouse.close()
    return chosen


@pytest.fixture(scope="module")
def predict(settings: Settings) -> Iterator[httpx.Client]:
    with live(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="module")
def drift(settings: Settings) -> Iterator[httpx.Client]:
    with live(create_drift_app(settings)) as client:
        yield client


def assert_absent(answer: httpx.Response) -> None:
    """404 as problem+json."""
    assert answer.status_code == 404, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 404


def test_other_model_has_no_endpoint(predict: httpx.Client, settings: Settings) -> None:
    """Neither a route of its own nor a name that a common route accepts."""
    (name,) = settings.model_names
    other = OTHER[name]
    paths = predict.get("/openapi.json").json()["paths"]
    assert [path for path in paths if other in path] == []
    assert f"/predict/{name}" in paths
    assert f"/feedback/{name}" in paths
    body = REQUESTS[other]
    for method, path in (
        ("POST", f"/predict/{other}"),
        ("POST", f"/predict/{other}/csv"),
        ("POST", f"/predict/{other}/batch"),
        ("POST", f"/feedback/{other}"),
        ("GET", f"/models/{other}"),
        ("GET", f"/v2/models/{other}"),
        ("GET", f"/v2/models/{other}/ready"),
        ("POST", f"/training/{other}"),
    ):
        assert_absent(predict.request(method, path, json=body if method == "POST" else None))
    assert_absent(predict.post(f"/v2/models/{other}/infer", json={"inputs": INPUTS[other]}))
    assert_absent(predict.post(f"/models/{other}/rollback", json={"reason": "it is wrong"}))


def test_chosen_model_works_in_every_endpoint(predict: httpx.Client, settings: Settings) -> None:
    """Readiness, predictions over both protocols, models, training, rollback, metrics."""
    (name,) = settings.model_names
    assert list(predict.get("/readyz").json()["models"]) == [name]
    assert predict.get("/v2/health/ready").json() == {"ready": True}
    assert [model["model"] for model in predict.get("/models").json()] == [name]
    (version,) = (entry["version"] for entry in predict.get(f"/models/{name}").json()["versions"])
    answer = predict.post(f"/predict/{name}", json=REQUESTS[name])
    assert (answer.status_code, answer.json()["version"]) == (200, version), answer.text
    inferred = predict.post(f"/v2/models/{name}/infer", json={"inputs": INPUTS[name]})
    assert (inferred.status_code, inferred.json()["model_version"]) == (200, version), inferred.text
    training = predict.post(f"/training/{name}").json()
    assert (training["model"], training["new"]) == (name, True)
    assert predict.get(f"/training/requests/{training['id']}").json()["status"] == "queued"
    (listed,) = predict.get("/training/requests", params={"model": name, "status": "queued", "source": "api"}).json()
    assert listed["id"] == training["id"]
    for filters in ({"status": "failed"}, {"source": "drift"}, {"before": training["requested_at"]}):
        assert predict.get("/training/requests", params=filters).json() == []
    assert predict.get("/training/requests", params={"model": OTHER[name]}).status_code == 404
    assert predict.get("/training/requests", params={"state": "queued"}).status_code == 422
    numbers = predict.get("/stats").json()["models"]
    assert list(numbers) == [name]
    assert {"predictions", "refused", "feedback"} <= numbers[name].keys()
    assert ("rows" in numbers[name]) is (name == "movies")
    assert predict.get("/", follow_redirects=True).url.path == "/docs"
    rollback = predict.post(f"/models/{name}/rollback")
    assert rollback.json()["type"].endswith("nothing-to-roll-back-to"), rollback.text
    assert predict.post(f"/feedback/{name}", json={}).status_code == 422
    assert f'model="{OTHER[name]}"' not in predict.get("/metrics").text


def test_drift_service_monitors_the_chosen_model_only(drift: httpx.Client, settings: Settings) -> None:
    """Reports of the other model do not exist, and alerts about it are ignored."""
    (name,) = settings.model_names
    other = OTHER[name]
    for path in ("", "?compute=true", "/report", "/history"):
        answer = drift.get(f"/monitoring/drift/{other}{path}")
        assert_absent(answer)
        assert answer.json()["type"].endswith("no-such-model")
    assert drift.get(f"/monitoring/drift/{name}").json()["type"].endswith("no-report")
    assert drift.get(f"/monitoring/drift/{name}/history").json()["reports"] == []
    assert drift.get("/readyz").status_code == 200
    counts = send_alerts(drift, settings, build_alert(1, model=other), build_alert(2, model=name)).json()
    assert counts["ignored"] == 1
    assert counts["queued"] + counts["joined"] == 1
    wait_for(lambda: 'alerts_total{outcome="ignored"} 1.0' in drift.get("/metrics").text)
    assert f'model="{other}"' not in drift.get("/metrics").text
