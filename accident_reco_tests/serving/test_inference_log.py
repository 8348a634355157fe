"""The prediction log and feedback: what is kept, what is dropped and counted, what late labels meet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from accident_reco.settings import Settings
from accident_reco.storage import prediction_log
from accident_reco.storage.tables.prediction_log import predictions
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.serving.live import live, wait_for
from accident_reco_tests.serving.toy import LOADERS, promote, toy_bundle
from serving.common.metrics import Metrics
from serving.predict.app import create_app
from serving.predict.prediction_log import Call, PredictionLog, new_id


def call(n: int = 1, name: str = "a", **changes: Any) -> Call:
    made: dict[str, Any] = {
        "model": "accidents", "version": "v", "request_id": "r", "user_name": "ada", "source": "json", "status": 200,
        "latency_ms": 1.0, "ids": [f"{name}-{i}" for i in range(n)], "inputs": [{"catu": 1}] * n, "scores": [0.5] * n,
        "answers": ["grave"] * n,
    }  # fmt: skip
    return Call(**made | changes)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    warehouse = Warehouse(f"sqlite:///{tmp_path / 'warehouse.db'}")
    warehouse.upgrade()
    return warehouse


def make_log(warehouse: Warehouse, metrics: Metrics, queue_rows: int = 100) -> PredictionLog:
    return PredictionLog(warehouse, metrics, queue_rows=queue_rows, retention_days=30)


def test_a_full_queue_drops_and_counts(warehouse: Warehouse) -> None:
    """Without a writer the queue fills up: what does not fit is counted, the rest is written at the stop."""
    metrics = Metrics()
    log = make_log(warehouse, metrics)
    for i in range(4):
        log.enqueue(call(30, f"call{i}"))
    assert log.room == 10
    assert 'prediction_log_dropped_rows_total{reason="full"} 30.0' in metrics.exposition().decode()
    log.start()
    log.stop()
    assert prediction_log.count_predictions(warehouse, "accidents") == 90
    assert "prediction_log_rows_total 90.0" in metrics.exposition().decode()


def test_rows_that_cannot_be_written_are_counted(tmp_path: Path) -> None:
    """A database without the table: the rows are lost, the service is not, and the metric says how many."""
    metrics = Metrics()
    log = make_log(Warehouse(f"sqlite:///{tmp_path / 'empty.db'}"), metrics)
    log.enqueue(call(3))
    log.start()
    log.stop()
    assert 'prediction_log_dropped_rows_total{reason="failed"} 3.0' in metrics.exposition().decode()


def test_a_short_outage_loses_nothing(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing fails twice, then works: every row arrives once."""
    failures = iter([True, True])
    insert = prediction_log.insert_predictions

    def flaky(*arguments: Any) -> None:
        if next(failures, False):
            raise OperationalError("INSERT", {}, Exception("database is locked"))
        insert(*arguments)

    monkeypatch.setattr("accident_reco.storage.prediction_log.insert_predictions", flaky)
    log = make_log(warehouse, Metrics())
    log.start()
    log.enqueue(call(5))
    wait_for(lambda: prediction_log.count_predictions(warehouse, "accidents") == 5)
    log.stop()
    assert prediction_log.count_predictions(warehouse, "accidents") == 5


def test_retention_deletes_what_is_old(warehouse: Warehouse) -> None:
    """Predictions and their labels past the age go; younger ones stay."""
    old = call(3, "old")
    rows = [{**row, "at": row["at"] - timedelta(days=31)} for row in old.rows()]
    prediction_log.insert_predictions(warehouse, rows)
    prediction_log.insert_predictions(warehouse, call(2, "new").rows())
    assert prediction_log.delete_older_than(warehouse, timedelta(days=30)) == 3
    assert {row["id"] for row in prediction_log.prediction_window(warehouse, "accidents")} == {"new-0", "new-1"}


def test_ids_are_in_order_of_time_and_none_is_like_another() -> None:
    """What lets the log's key grow at its end; the rest is too random to be guessed."""
    ids = [new_id() for _ in range(2000)]
    times = [int(one[:12], 16) for one in ids]
    assert times == sorted(times)
    assert abs(times[0] / 1000 - time.time()) < 60
    assert len({one[12:] for one in ids}) == len(ids)
    assert {len(f"{one}-4999") for one in ids} == {33}, "longer than the column"


@pytest.mark.parametrize("rows", [1, 99, 100, 101, 250])
def test_rows_arrive_as_they_were_given(warehouse: Warehouse, rows: int) -> None:
    """However they fall into statements: every value, null and quote where it was."""
    inputs = [{"com": 'O\'Brien "?" %s', "lat": -0.5, "n": i} for i in range(rows)]
    answers = [None, "grave", {"movies": [1]}] * rows
    scores = [None, 0.25] * rows
    made = call(rows, inputs=inputs, answers=answers[:rows], scores=scores[:rows], version=None)
    prediction_log.insert_predictions(warehouse, made.rows())
    found = {row["id"]: row for row in prediction_log.prediction_window(warehouse, "accidents")}
    assert found == {row["id"]: row for row in made.rows()}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Warehouse]]:
    home = tmp_path_factory.mktemp("log")
    promote(home, toy_bundle(0.9))
    settings = Settings.load(home=home, auth_required=False)
    warehouse = Warehouse(settings.database)
    warehouse.upgrade()
    with live(create_app(settings, LOADERS)) as client:
        yield client, warehouse


def ask(client: httpx.Client, warehouse: Warehouse, record: dict[str, Any]) -> str:
    """Ask for a prediction and wait until it is in the log."""
    answer = client.post("/predict/accidents", json={"records": [record]}).json()
    prediction_id = str(answer["predictions"][0]["prediction_id"])
    wait_for(lambda: prediction_log.prediction(warehouse, prediction_id) is not None)
    return prediction_id


def test_a_prediction_is_logged_as_it_came_in(served: tuple[httpx.Client, Warehouse]) -> None:
    """Raw inputs (letters and clock times included), score, class, version, who, when, how long."""
    client, warehouse = served
    record = {"catu": 3, "actp": "A", "hrmn": "17:45", "lat": 48.5}
    row = prediction_log.prediction(warehouse, ask(client, warehouse, record))
    assert row is not None
    assert row["inputs"] == record
    assert (row["score"], row["answer"], row["status"], row["source"]) == (0.9, "grave", 200, "json")
    assert row["user_name"] == "anonymous"
    assert len(row["version"]) == 16
    assert row["latency_ms"] > 0


def test_users_of_an_accident_are_logged_with_its_context(served: tuple[httpx.Client, Warehouse]) -> None:
    """One row per user, holding the accident's, the vehicle's and the user's fields, and the context of the others."""
    client, warehouse = served
    body = {
        "accidents": [
            {"lum": 5, "vehicles": [{"id": "A", "catv": 7}], "users": [{"vehicle": "A", "catu": 1}, {"catu": 3}]}
        ]
    }
    users = client.post("/predict/accidents", json=body).json()["accidents"][0]["users"]
    wait_for(lambda: prediction_log.prediction(warehouse, users[1]["prediction_id"]) is not None)
    row = prediction_log.prediction(warehouse, users[0]["prediction_id"])
    assert row is not None
    assert (row["inputs"]["lum"], row["inputs"]["catv"], row["inputs"]["catu"]) == (5, 7, 1)
    assert (row["inputs"]["nb_users"], row["inputs"]["nb_pedestrians"]) == (2, 1)


def test_refused_calls_are_logged_without_their_input(served: tuple[httpx.Client, Warehouse]) -> None:
    """Errors are part of the record: who, when, which status; not what was wrong."""
    client, warehouse = served
    refused = client.post("/predict/accidents", json={"records": [{"catu": 99}]})
    request_id = refused.headers["x-request-id"]

    def found() -> list[Any]:
        with warehouse.connect() as connection:
            query = predictions.select().where(predictions.c.request_id == request_id)
            return list(connection.execute(query).mappings())

    wait_for(lambda: len(found()) == 1)
    (row,) = found()
    assert (row["status"], row["inputs"], row["score"]) == (422, {}, None)


@pytest.mark.parametrize(("path", "source"), [("/predict/accidents/csv", "csv"), ("/v2/models/accidents/infer", "v2")])
def test_refusals_of_every_way_to_ask_are_logged(
    served: tuple[httpx.Client, Warehouse], path: str, source: str
) -> None:
    """CSV and the Open Inference Protocol as well; a model that does not exist is nobody's row."""
    client, warehouse = served
    content_type = {"content-type": "text/csv" if source == "csv" else "application/json"}
    request_id = client.post(path, content=b"nonsense", headers=content_type).headers["x-request-id"]
    query = predictions.select().where(predictions.c.request_id == request_id)

    def found() -> list[Any]:
        with warehouse.connect() as connection:
            return list(connection.execute(query).mappings())

    assert client.post("/v2/models/none/infer", json={}).status_code == 404
    wait_for(lambda: len(found()) == 1)
    assert (found()[0]["source"], found()[0]["model"], found()[0]["inputs"]) == (source, "accidents", {})
    assert found()[0]["status"] >= 400


def test_feedback_is_idempotent_and_joined(served: tuple[httpx.Client, Warehouse]) -> None:
    """The same label twice is one label; another label is refused; the pair can be read back for evaluation."""
    client, warehouse = served
    prediction_id = ask(client, warehouse, {"catu": 3})
    first = client.post("/feedback/accidents", json={"prediction_id": prediction_id, "severity": 2})
    assert first.json() == {"prediction_id": prediction_id, "severity": 2, "grave": True, "status": "accepted"}
    again = client.post("/feedback/accidents", json={"prediction_id": prediction_id, "severity": 2})
    assert again.json()["status"] == "known"
    other = client.post("/feedback/accidents", json={"prediction_id": prediction_id, "severity": 1})
    assert other.status_code == 409
    (pair,) = [p for p in prediction_log.labelled_predictions(warehouse, "accidents") if p["id"] == prediction_id]
    assert (pair["score"], pair["grave"], pair["severity"]) == (0.9, True, 2)


def test_feedback_that_is_refused(served: tuple[httpx.Client, Warehouse]) -> None:
    """Unknown predictions, labels outside the window, codes that are none."""
    client, warehouse = served
    prediction_id = ask(client, warehouse, {"catu": 1})
    for severity in (0, 5, True, "2", None, 2.5):
        body = {"prediction_id": prediction_id, "severity": severity}
        assert client.post("/feedback/accidents", json=body).status_code == 422
    unknown = client.post("/feedback/accidents", json={"prediction_id": "nonsense", "severity": 1})
    assert unknown.status_code == 404
    with warehouse.begin() as connection:
        aged = update(predictions).where(predictions.c.id == prediction_id)
        row = prediction_log.prediction(warehouse, prediction_id)
        assert row is not None
        connection.execute(aged.values(at=row["at"] - timedelta(days=61)))
    late = client.post("/feedback/accidents", json={"prediction_id": prediction_id, "severity": 1})
    assert late.status_code == 410
