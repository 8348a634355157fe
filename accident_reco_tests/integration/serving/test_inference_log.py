"""The prediction log and feedback: what is kept, what is dropped and counted, what late labels meet."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import OperationalError

from accident_reco.settings import Settings
from accident_reco.storage import prediction_log
from accident_reco.storage.tables.prediction_log import predictions
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.log_rows import call, dropped, stored_ids, value
from accident_reco_tests.support.toy import LOADERS, promote, toy_bundle
from serving.common.metrics import Metrics
from serving.predict.app import create_app
from serving.predict.log_spill import Spill, count_rows, encode_row
from serving.predict.prediction_log import LINGER_SECONDS, PredictionLog, new_id


def make_log(warehouse: Warehouse, metrics: Metrics, spill: Spill, queue_rows: int = 100) -> PredictionLog:
    return PredictionLog(warehouse, metrics, spill, queue_rows=queue_rows, retention_days=30)


@pytest.fixture
def spill(tmp_path: Path) -> Iterator[Spill]:
    spill = Spill(tmp_path / "spill", 1 << 20)
    yield spill
    spill.close()


def spilled(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


class Outage:
    """Stands between a log and its database: inserts fail while it lasts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.attempts = 0
        self.is_over = threading.Event()
        self._insert = prediction_log.insert_predictions
        monkeypatch.setattr("accident_reco.storage.prediction_log.insert_predictions", self)

    def __call__(self, *arguments: Any, **options: Any) -> None:
        self.attempts += 1
        if not self.is_over.is_set():
            self.fail(*arguments, **options)
        self._insert(*arguments, **options)

    def fail(self, *_: Any, **__: Any) -> None:
        raise OperationalError("INSERT", {}, Exception("the database is away"))


class LostAcknowledgement(Outage):
    """The rows are committed, and the connection breaks before the client learns of it."""

    def fail(self, *arguments: Any, **options: Any) -> None:
        self.is_over.set()
        self._insert(*arguments, **options)
        super().fail()


class Hang(Outage):
    """The database accepts the rows and does not answer."""

    def fail(self, *_: Any, **__: Any) -> None:
        assert self.is_over.wait(30)


def test_a_full_queue_drops_and_counts(warehouse: Warehouse, spill: Spill) -> None:
    """Without a writer the queue fills up: what does not fit is counted, the rest is written at the stop."""
    metrics = Metrics()
    log = make_log(warehouse, metrics, spill)
    for i in range(4):
        log.enqueue(call(30, f"call{i}"))
    assert dropped(metrics, "full") == 30
    log.start()
    log.stop()
    assert len(prediction_log.prediction_window(warehouse, "accidents")) == 90
    assert value(metrics, "prediction_log_rows_total") == 90
    log.enqueue(call(1, "late"))
    assert dropped(metrics, "full") == 31, "no thread writes any more"


def test_few_rows_wait_for_company(warehouse: Warehouse, spill: Spill, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that arrives while others are written is no transaction of its own: the writer waits between two. At the
    stop nothing waits.
    """
    metrics, insert, began = Metrics(), prediction_log.insert_predictions, []

    def insert_while_one_arrives(*arguments: Any, **options: Any) -> None:
        began.append(time.monotonic())
        insert(*arguments, **options)
        if len(began) <= 3:
            log.enqueue(call(1, f"call{len(began)}"))

    monkeypatch.setattr("accident_reco.storage.prediction_log.insert_predictions", insert_while_one_arrives)
    log = make_log(warehouse, metrics, spill)
    log.start()
    log.enqueue(call(1, "call0"))
    wait_for(lambda: len(began) == 3)
    log.stop()
    assert min(b - a for a, b in pairwise(began[:3])) >= 0.9 * LINGER_SECONDS
    assert len(began) == 4
    assert value(metrics, "prediction_log_rows_total") == 4


def test_rows_that_cannot_be_written_yet_survive_a_restart(tmp_path: Path, spill: Spill) -> None:
    """A database without the table: at the stop the rows go to files that others cannot read, and are sent once by
    the next process when the table is there; the gauge counts them in both."""
    warehouse, metrics = Warehouse(f"sqlite:///{tmp_path / 'late.db'}"), Metrics()
    log = make_log(warehouse, metrics, spill)
    log.start()
    log.enqueue(call(3, inputs=[{"lat": 0.1}, {"n": None}, {"com": "O'Brien \"\\ \u0000"}], scores=[None, 0.25, 1e-9]))
    assert value(metrics, "prediction_log_queue_rows") == 3
    log.stop()
    (file,) = spilled(tmp_path / "spill")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert value(metrics, "prediction_log_queue_rows") == 3
    warehouse.upgrade()
    metrics = Metrics()
    log = make_log(warehouse, metrics, spill)
    log.start()
    wait_for(lambda: value(metrics, "prediction_log_rows_total") == 3)
    log.stop()
    rows = {row["id"]: row for row in prediction_log.prediction_window(warehouse, "accidents")}
    assert [rows[f"a-{i}"]["inputs"] for i in range(3)] == [{"lat": 0.1}, {"n": None}, {"com": "O'Brien \"\\ \u0000"}]
    assert [rows[f"a-{i}"]["score"] for i in range(3)] == [None, 0.25, 1e-9]
    assert spilled(tmp_path / "spill") == []
    assert value(metrics, "prediction_log_queue_rows") == 0


def test_an_outage_longer_than_the_queue_loses_nothing(
    warehouse: Warehouse, spill: Spill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times what the queue holds arrives while writing fails: the rest waits on disk, the gauge counts every row,
    and all arrive in order once writing works."""
    outage, metrics = Outage(monkeypatch), Metrics()
    log = make_log(warehouse, metrics, spill)
    log.start()
    for i in range(40):
        log.enqueue(call(10, f"{i:02d}", at=datetime.fromtimestamp(1_800_000_000 + i, UTC)))
        # Faster than disks are is another test's business: here nothing may be dropped.
        wait_for(lambda: log._waiting < 75)
    wait_for(lambda: value(metrics, "prediction_log_queue_rows") == 400)
    assert spilled(tmp_path / "spill")
    assert not log.is_filling, "a caller that waited would wait for the database"
    outage.is_over.set()
    wait_for(lambda: value(metrics, "prediction_log_queue_rows") == 0)
    log.stop()
    with warehouse.connect() as connection:
        stored = list(connection.scalars(text("SELECT id FROM predictions ORDER BY rowid")))
    assert stored == [f"{i:02d}-{n}" for i in range(40) for n in range(10)]
    assert value(metrics, "prediction_log_rows_total") == 400
    assert dropped(metrics, "full") == 0


@pytest.mark.parametrize("spill_bytes", [0, 5_000])
def test_what_fits_nowhere_is_counted(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spill_bytes: int
) -> None:
    """A spill that is too small or switched off: rows logged and rows dropped are the rows predicted, at once and after
    the stop, and the folder holds no more than it may."""
    Outage(monkeypatch)
    metrics, spill = Metrics(), Spill(tmp_path / "spill", spill_bytes)
    log = make_log(warehouse, metrics, spill)
    log.start()
    for i in range(40):
        log.enqueue(call(10, f"{i:02d}"))
        threading.Event().wait(0.005)
    full = dropped(metrics, "full")
    assert full >= 200
    wait_for(lambda: value(metrics, "prediction_log_queue_rows") == 400 - full)
    log.stop()
    files = spilled(tmp_path / "spill")
    assert sum(file.stat().st_size for file in files) <= spill_bytes
    assert sum(map(count_rows, files)) + dropped(metrics, "failed") == 400 - full


def test_a_batch_that_was_committed_unnoticed_is_not_doubled(
    warehouse: Warehouse, spill: Spill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after the commit: the rows are sent again, and stored once."""
    lost, metrics = LostAcknowledgement(monkeypatch), Metrics()
    log = make_log(warehouse, metrics, spill)
    log.start()
    log.enqueue(call(5))
    wait_for(lambda: value(metrics, "prediction_log_rows_total") == 5)
    log.stop()
    assert lost.attempts == 2
    assert stored_ids(warehouse) == {f"a-{i}" for i in range(5)}
    assert dropped(metrics, "refused") == 0


def test_a_database_that_does_not_answer_holds_up_nothing(
    warehouse: Warehouse, spill: Spill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An insert that does not return: calls are still taken and spilled, the stop spills the rest with what is in
    flight, and the next process stores each row once though the first insert was carried out in the end."""
    hang, metrics = Hang(monkeypatch), Metrics()
    log = make_log(warehouse, metrics, spill)
    log.start()
    log.enqueue(call(10, "first"))
    wait_for(lambda: hang.attempts == 1)
    for i in range(8):
        log.enqueue(call(10, f"more{i}"))
    wait_for(lambda: bool(spilled(tmp_path / "spill")))
    started = time.monotonic()
    log.stop()
    assert time.monotonic() - started < 6
    assert sum(map(count_rows, spilled(tmp_path / "spill"))) == 90
    hang.is_over.set()
    wait_for(lambda: "first-0" in stored_ids(warehouse))
    again = make_log(warehouse, Metrics(), spill)
    again.start()
    wait_for(lambda: len(prediction_log.prediction_window(warehouse, "accidents")) == 90)
    again.stop()
    assert spilled(tmp_path / "spill") == []


def test_rows_that_the_database_refuses_are_dropped_alone(warehouse: Warehouse, spill: Spill) -> None:
    """A missing value that the table wants, a number that JSON cannot hold: these two are counted and dropped, the
    other 500 of their batches arrive, and so does what comes later."""
    metrics = Metrics()
    log = make_log(warehouse, metrics, spill, queue_rows=1000)
    log.enqueue(call(250, "before"))
    log.enqueue(call(1, "no-source", source=None))
    log.enqueue(call(1, "huge", inputs=[{"n": 2**70}]))
    log.enqueue(call(250, "after"))
    log.start()
    wait_for(lambda: value(metrics, "prediction_log_queue_rows") == 0)
    log.enqueue(call(1, "later"))
    log.stop()
    assert len(stored_ids(warehouse)) == 501
    assert dropped(metrics, "refused") == 2
    assert value(metrics, "prediction_log_rows_total") == 501


def test_a_row_that_cannot_be_spilled_is_dropped_alone(
    warehouse: Warehouse, spill: Spill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What JSON cannot hold is counted at the spill; its neighbours are kept."""
    Outage(monkeypatch)
    metrics = Metrics()
    log = make_log(warehouse, metrics, spill)
    log.start()
    log.enqueue(call(3, inputs=[{}, {"n": 2**70}, {}]))
    log.stop()
    assert [count_rows(file) for file in spilled(tmp_path / "spill")] == [2]
    assert dropped(metrics, "refused") == 1


def test_damaged_and_incomplete_files(warehouse: Warehouse, spill: Spill, tmp_path: Path) -> None:
    """A file that the disk did not keep is counted and removed; one that a killed process did not finish is no file."""
    at = datetime.now(UTC)
    for i, made in enumerate((call(2, "bad"), call(3, "good"))):
        assert spill.write(at + timedelta(seconds=i), [encode_row(row) for row in made.rows()])
    folder, metrics = tmp_path / "spill", Metrics()
    damaged = spilled(folder)[0]
    damaged.write_bytes(damaged.read_bytes()[:-40])
    (folder / "incomplete").write_bytes(b'{"id": "x"')
    log = make_log(warehouse, metrics, spill)
    log.start()
    wait_for(lambda: value(metrics, "prediction_log_rows_total") == 3)
    log.stop()
    assert stored_ids(warehouse) == {f"good-{i}" for i in range(3)}
    assert dropped(metrics, "failed") == 2
    assert spilled(folder) == []


def test_workers_share_a_spill(tmp_path: Path) -> None:
    """Every worker writes, within the limit of all; one reads at a time, and when it ends another takes over."""
    lines = [encode_row(row) for row in call(10).rows()]
    size = sum(map(len, lines))
    one, other = (Spill(tmp_path / "spill", 2 * size) for _ in range(2))
    at = datetime.now(UTC)
    assert one.oldest() is None
    assert other.write(at, lines)
    assert one.write(at, lines)
    assert not other.write(at, lines), "the limit is of the folder"
    assert one.waiting_rows() == 20
    assert (other.oldest(), other.waiting_rows()) == (None, 0)
    one.close()
    found = other.oldest()
    assert found is not None
    assert [row["id"] for row in other.read(found)] == [f"a-{i}" for i in range(10)]
    other.close()


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


def test_texts_of_every_kind_arrive_as_they_were_given(warehouse: Warehouse) -> None:
    """What separates, escapes or ends rows on the way to a database, also where it looks like one of its marks."""
    texts = ["\t", "a\tb", "\n", "\r\n", "\\", "\\t", "\\N", "\\.", "", " ", '"', "''", "{}", "é\u2028", "None", "NULL"]
    inputs = [{"com": text} for text in texts]
    made = call(len(texts), inputs=inputs, answers=texts).rows()
    rows = [row | {"user_name": text} for row, text in zip(made, texts, strict=True)]
    prediction_log.insert_predictions(warehouse, rows)
    found = {row["id"]: row for row in prediction_log.prediction_window(warehouse, "accidents")}
    assert found == {row["id"]: row for row in rows}


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
    """CSV and the Open Inference Protocol as well; a call of a model that does not exist is not logged."""
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
    assert (pair["score"], pair["outcome"], pair["label"]) == (0.9, 1.0, {"severity": 2})


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
