"""The prediction log through outages of a real PostgreSQL: every prediction is logged once, or counted as dropped.

The service writes with the role that it has in production.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest
from sqlalchemy import select

from accident_reco.launch.postgres_server import start_postgres
from accident_reco.launch.processes import Children, free_port
from accident_reco.settings import Settings
from accident_reco.storage.tables.prediction_log import predictions
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.e2e.conftest import Postgres
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.log_rows import call, dropped, stored_ids, value
from accident_reco_tests.support.toy import LOADERS, promote, toy_bundle
from serving.common.metrics import Metrics
from serving.predict.app import create_app
from serving.predict.log_spill import Spill, count_rows
from serving.predict.prediction_log import PredictionLog

pytestmark = pytest.mark.e2e

BATCH = 20
QUEUE_ROWS = 6_000
OUTAGE_ROWS = 9_000


class Database:
    """A PostgreSQL of one's own that is stopped and started again on its port."""

    def __init__(self, folder: Path) -> None:
        (folder / "logs").mkdir(parents=True)
        self.children = Children(dict(os.environ), folder / "logs")
        self._folder, self._server = folder, Postgres(free_port(), secrets.token_urlsafe(12))
        self.start()
        self.launcher = self._server.prepare_platform(folder / "home")

    def start(self) -> None:
        """Returns once a login works."""
        server = self._server
        ready = start_postgres(self.children, self._folder / "data", server.port, server.password)
        self.children.await_ready({"postgres": ready}, 30)

    def stop(self) -> None:
        """As an administrator does: fast shutdown, which breaks every connection."""
        self.children.end("postgres")

    def logged_ids(self) -> list[str]:
        """Every row's id."""
        warehouse = Warehouse(self.launcher.database)
        with warehouse.connect() as connection:
            ids = list(connection.scalars(select(predictions.c.id)))
        warehouse.close()
        return ids


@pytest.fixture
def server(stack_folder: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    folder = stack_folder / f"outage-{request.node.name.replace('[', '-').strip(']')}"
    folder.mkdir(mode=0o755)
    server = Database(folder)
    yield server
    server.children.stop()


class Load:
    """At most 2,000 predictions a second, from a thread: the ids that were answered, and the slowest answer."""

    def __init__(self, url: str) -> None:
        self.ids: list[str] = []
        self.slowest_seconds = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(url,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Returns after the last answer."""
        self._stopping.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self, url: str) -> None:
        body = {"records": [{"catu": 3, "com": "O'Brien \\ %s", "hrmn": "17:45"}] * BATCH}
        with httpx.Client(base_url=url, timeout=10) as client:
            while not self._stopping.wait(0.01):
                started = time.perf_counter()
                answer = client.post("/predict/accidents", json=body)
                assert answer.status_code == 200
                self.slowest_seconds = max(self.slowest_seconds, time.perf_counter() - started)
                self.ids += [one["prediction_id"] for one in answer.json()["predictions"]]


def metric(client: httpx.Client, series: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(series))


def settings(home: Path, server: Database, **changes: int) -> Settings:
    promote(home, toy_bundle())
    limits = {"log_queue_rows": QUEUE_ROWS, "rate_per_second": 1_000_000, "rate_burst": 1_000_000} | changes
    return Settings.load(home=home, database_url=server.launcher.services_database_url, auth_required=False, **limits)


def test_an_outage_under_load_loses_and_duplicates_no_row(server: Database, tmp_path: Path) -> None:
    """The database is stopped for several seconds while predictions are made, more than the queue holds: answers
    do not wait for it, the gauge counts all waiting rows, and every prediction is logged once it is back."""
    with live(create_app(settings(tmp_path, server), LOADERS)) as client, Load(str(client.base_url)) as load:
        wait_for(lambda: metric(client, "prediction_log_rows_total") > 0)
        server.stop()
        before = len(load.ids)
        down = time.monotonic()
        wait_for(lambda: len(load.ids) > before + OUTAGE_ROWS and time.monotonic() > down + 5, seconds=60)
        assert metric(client, "prediction_log_queue_rows") >= OUTAGE_ROWS * 0.9
        assert metric(client, "prediction_log_dropped_rows_total") == 0
        files = list((tmp_path / "spool" / "predictions").glob("*.jsonl"))
        assert files
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
        server.start()
        wait_for(lambda: metric(client, "prediction_log_queue_rows") < OUTAGE_ROWS / 2, seconds=60)
        load.stop()
        wait_for(lambda: metric(client, "prediction_log_queue_rows") == 0, seconds=60)
        assert metric(client, "prediction_log_rows_total") == len(load.ids)
    assert load.slowest_seconds < 2, "an answer waited for the database"
    assert sorted(server.logged_ids()) == sorted(load.ids)


@pytest.mark.parametrize("spill_bytes", [0, 100_000])
def test_rows_beyond_a_small_spill_are_counted(server: Database, tmp_path: Path, spill_bytes: int) -> None:
    """Logged and dropped rows add up to the predictions; the folder stays within its limit."""
    small = settings(tmp_path, server, log_queue_rows=400, log_spill_bytes=spill_bytes)
    folder = tmp_path / "spool" / "predictions"
    with live(create_app(small, LOADERS)) as client, Load(str(client.base_url)) as load:
        wait_for(lambda: metric(client, "prediction_log_rows_total") > 0)
        server.stop()
        wait_for(lambda: metric(client, "prediction_log_dropped_rows_total") > 500, seconds=60)
        assert sum(file.stat().st_size for file in folder.glob("*.jsonl")) <= spill_bytes
        load.stop()
        server.start()
        wait_for(lambda: metric(client, "prediction_log_queue_rows") == 0, seconds=60)
        logged = metric(client, "prediction_log_rows_total")
        dropped = metric(client, "prediction_log_dropped_rows_total")
        assert logged + dropped == len(load.ids)
        assert metric(client, 'prediction_log_dropped_rows_total{reason="full"}') == dropped
    ids = server.logged_ids()
    assert len(ids) == logged
    assert set(ids) <= set(load.ids)


def test_a_stop_during_an_outage_keeps_waiting_rows(server: Database, tmp_path: Path) -> None:
    """The process ends while the database is unreachable: queue and batch in flight are stored on disk at once, and
    the next process logs them."""
    made = settings(tmp_path, server)
    with live(create_app(made, LOADERS)) as client, Load(str(client.base_url)) as load:
        wait_for(lambda: metric(client, "prediction_log_rows_total") > 0)
        server.stop()
        before = len(load.ids)
        wait_for(lambda: len(load.ids) > before + 500)
        load.stop()
        logged = metric(client, "prediction_log_rows_total")
        asked = time.monotonic()
    assert time.monotonic() - asked < 3
    files = list((tmp_path / "spool" / "predictions").glob("*.jsonl"))
    assert sum(map(count_rows, files)) == len(load.ids) - logged
    server.start()
    with live(create_app(made, LOADERS)) as client:
        wait_for(lambda: metric(client, "prediction_log_rows_total") == len(load.ids) - logged, seconds=30)
    assert sorted(server.logged_ids()) == sorted(load.ids)


def test_only_rows_that_postgres_rejects_are_dropped(warehouses: dict[str, Warehouse], tmp_path: Path) -> None:
    """A version too long for its column and a NUL in a name, among valid rows: these two are counted and dropped, and
    no other row waits for them."""
    metrics = Metrics()
    log = PredictionLog(
        warehouses["services"], metrics, Spill(tmp_path / "spill", 1 << 20), queue_rows=2_000, retention_days=30
    )
    for made in (call(300, "a"), call(1, "b", version="v" * 65), call(1, "c", user_name="a\x00b"), call(300, "d")):
        log.enqueue(made)
    log.start()
    wait_for(lambda: value(metrics, "prediction_log_queue_rows") == 0)
    log.stop()
    assert stored_ids(warehouses["owner"]) == {f"{name}-{i}" for name in "ad" for i in range(300)}
    assert dropped(metrics, "refused") == 2
