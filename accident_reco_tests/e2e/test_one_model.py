"""An installation with one of the two models: it starts, its loop works, and nothing misses the other."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from accident_reco_tests.support import dagster_api
from accident_reco_tests.support.client import Client, await_value
from accident_reco_tests.support.running import SMALL, Running, environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

REQUESTS: dict[str, dict[str, Any]] = {
    "accidents": {"records": [{"catu": 1, "catv": 33, "catr": 3, "agg": 1, "an_nais": 2001, "an": 2024}]},
    "movies": {"count": 3},
}
OTHER = {"accidents": "movies", "movies": "accidents"}


@pytest.fixture(scope="module", params=REQUESTS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`make up` with this model alone."""
    env = environment(
        tmp_path_factory.mktemp("up") / "home",
        ACCIDENT_RECO_MODELS=request.param,
        ACCIDENT_RECO_LOOP_SECONDS="1",
        ACCIDENT_RECO_TRIGGER_SECONDS="1",
        ACCIDENT_RECO_DRIFT_SAMPLE_ROWS="100",
    )
    unused = [name for name in SMALL if OTHER[request.param].upper() in name]
    platform = Running({name: value for name, value in env.items() if name not in unused})
    try:
        platform.await_text(r"ready after \d+ s", 600)
        yield platform
    finally:
        platform.stop()


def test_the_loop_works_with_one_model(running: Running) -> None:
    """Prediction, drift report, a request through sensor and policy, a training to the gate; one model is known."""
    name = running.env["ACCIDENT_RECO_MODELS"]
    other = OTHER[name]
    assert "✘" not in running.screen
    assert other not in running.screen
    client = Client(running)
    assert [served["model"] for served in client.get("predict", "/models")] == [name]
    body = REQUESTS[name]
    assert client.post("predict", f"/predict/{name}", body)["model"] == name
    assert client.call("POST", "predict", f"/predict/{other}", body).status_code == 404
    assert client.get("drift", f"/monitoring/drift/{name}?compute=true")["status"] == "insufficient_data"
    shown = dagster_api.repository(running.url("dagster"))
    assert {key.partition("/")[0] for key in shown["assets"]} == {name}
    # A sensor may have started others by now.
    first = [run for run in dagster_api.runs(running.url("dagster")) if "user" in run["tags"]]
    assert {f"train_{name}", f"ingest_{name}", f"report_{name}_drift"} <= {run["job"] for run in first}
    assert {run["location"] for run in first} == {"accident_reco"}, "the timeline shows runs of a location only"
    launched_by = {(run["tags"]["user"], bool(run["tags"]["accident_reco/reason"])) for run in first}
    assert launched_by == {("accident-reco up", True)}

    request = client.post("predict", f"/training/{name}", None)

    def ended() -> dict[str, Any] | None:
        found = client.get("predict", f"/training/requests/{request['id']}")
        return found if found["status"] not in ("queued", "running") else None

    outcome = await_value(ended, 300, "the training ends")
    assert outcome["status"] == "held", "it would only repeat the champion's training"
    launched = dagster_api.launch(running.url("dagster"), "accident_reco", f"train_{name}")

    def finished() -> str | None:
        status = dagster_api.run_status(running.url("dagster"), launched)
        return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None

    assert await_value(finished, 300, "the training ends") == "SUCCESS"
    decided = (Path(running.env["ACCIDENT_RECO_HOME"]) / "warehouse.db").as_uri()
    with closing(sqlite3.connect(f"{decided}?mode=ro", uri=True)) as connection:
        query = "SELECT action, reason FROM promotions WHERE run_id = ?"
        rows = connection.execute(query, (launched,)).fetchall()
    ((action, reason),) = rows
    assert action == "refuse"
    assert reason.endswith("serves already: the same data, code and seed give the same version")
    for service in ("predict", "drift", "auth", "console"):
        paths = client.get(service, "/openapi.json")["paths"]
        for path in (path for path, methods in paths.items() if "get" in methods):
            answer = client.call("GET", service, re.sub(r"\{model\}", name, path))
            assert answer.status_code < 500, (path, answer.text)
        assert 'status="5' not in client.text(service, "/metrics")
    client.close()
