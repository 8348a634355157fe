"""A warehouse that does not respond: the service is at fault, says so, and shows what waits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy.engine import make_url

from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.toy import LOADERS, promote, toy_bundle
from serving.predict.app import create_app


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Settings]]:
    """The predict service with a time limit of a second."""
    home = tmp_path_factory.mktemp("stalled")
    promote(home, toy_bundle())
    settings = Settings.load(home=home, auth_required=False, request_seconds=1.0)
    Warehouse(settings.database).upgrade()
    with live(create_app(settings, LOADERS)) as client:
        yield client, settings


@contextmanager
def stalled(settings: Settings) -> Iterator[None]:
    """The warehouse locked by another writer."""
    with closing(sqlite3.connect(str(make_url(settings.database).database), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


@pytest.mark.parametrize("body", [None, b"{}"])
def test_a_stalled_warehouse_is_not_the_clients_fault(
    served: tuple[httpx.Client, Settings], body: bytes | None
) -> None:
    """503, not 408, whether or not the client sends a body that the endpoint does not read."""
    client, settings = served
    with stalled(settings):
        answer = client.post("/training/accidents", content=body)
    assert answer.status_code == 503
    assert answer.json()["type"].endswith("timeout")
    assert answer.headers["retry-after"]


def test_the_queue_gauge_counts_what_waits(served: tuple[httpx.Client, Settings]) -> None:
    """Rows that are being written count until they are written, with those that came after them."""
    client, settings = served

    def queued() -> float:
        lines = client.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith("prediction_log_queue_rows ")).rpartition(" ")[2])

    wait_for(lambda: queued() == 0)
    with stalled(settings):
        for number in range(1, 6):
            assert client.post("/predict/accidents", json={"records": [{"catu": 1}] * 2}).status_code == 200
            assert queued() == 2 * number
    wait_for(lambda: queued() == 0)


def test_a_removed_warehouse_is_noticed(tmp_path: Path) -> None:
    """No write is acknowledged, the service is not ready, and both are well again after a restore."""
    promote(tmp_path, toy_bundle())
    settings = Settings.load(home=tmp_path, auth_required=False)
    Warehouse(settings.database).upgrade()
    file = tmp_path / "warehouse.db"
    with live(create_app(settings, LOADERS)) as client:
        assert client.post("/training/accidents").status_code == 202
        with closing(sqlite3.connect(file)) as connection, closing(sqlite3.connect(tmp_path / "saved")) as saved:
            connection.backup(saved)
        for each in tmp_path.glob("warehouse.db*"):
            each.unlink()
        refused = client.post("/training/accidents")
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:accident-reco:problem:warehouse-unavailable")
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert "was removed" in ready.json()["problem"]
        assert not file.exists()
        (tmp_path / "saved").rename(file)
        assert client.get("/readyz").status_code == 200
        again = client.post("/training/accidents")
        assert (again.status_code, again.json()["new"]) == (202, False), "it joins the one that the copy has"
        assert [row["id"] for row in client.get("/training/requests").json()] == [again.json()["id"]]
