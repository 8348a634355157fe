"""Rollback over HTTP with a running predict service, and by the command line."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from accident_reco.settings import Settings
from accident_reco.storage.lifecycle import promotion_history, rolled_back_versions
from accident_reco.storage.objects import ObjectStore, StoreError
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import work_request
from accident_reco_tests.support.command_line import accident_reco
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.promotion import promote_by_gate, roll_back
from accident_reco_tests.support.toy import LOADERS, open_model_store, toy_bundle
from serving.predict.app import create_app

AWAY = "postgresql+psycopg2://u:p@127.0.0.1:9/w"


def served_version(client: httpx.Client) -> str:
    return str(client.post("/predict/accidents", json={"records": [{"catu": 3}]}).json()["version"])


def test_rollback_is_served_within_five_seconds(tmp_path: Path, warehouse: Warehouse) -> None:
    """The pointer moves before the response, the slot follows, and the gate blocks the version left behind."""
    first = promote_by_gate(tmp_path, warehouse, toy_bundle(0.3))
    second = promote_by_gate(tmp_path, warehouse, toy_bundle(0.9))
    with live(create_app(Settings.load(home=tmp_path, auth_required=False), LOADERS)) as client:
        assert served_version(client) == second
        started = time.monotonic()
        response = client.post("/models/accidents/rollback", json={"reason": "it is wrong about pedestrians"})
        assert response.status_code == 200
        assert response.json()["status"] == "done"
        assert response.json()["outcome"] == f"rolled back from {second} to {first} by anonymous"
        wait_for(lambda: served_version(client) == first)
        assert time.monotonic() - started < 5
    entry = promotion_history(warehouse, "accidents")[0]
    assert (entry["action"], entry["version"], entry["previous"], entry["promoted"]) == (
        "rollback",
        first,
        second,
        True,
    )
    assert entry["run_id"] == f"api:{response.json()['id']}"
    assert promote_by_gate(tmp_path, warehouse, toy_bundle(0.9)) == first


def test_rollback_without_a_body(tmp_path: Path, warehouse: Warehouse) -> None:
    """To the latest earlier version; a body of another type is still refused."""
    first = promote_by_gate(tmp_path, warehouse, toy_bundle(0.3))
    promote_by_gate(tmp_path, warehouse, toy_bundle(0.9))
    with live(create_app(Settings.load(home=tmp_path, auth_required=False), LOADERS)) as client:
        url = "/models/accidents/rollback"
        assert client.post(url, content=b"reason=x").status_code == 415
        assert client.post(url, content=iter([b"{}"])).status_code == 415
        done = client.post(url)
        assert done.status_code == 200, done.text
        assert done.json()["reason"] == "requested through the API"
        wait_for(lambda: served_version(client) == first)


def test_store_failure_leaves_the_request_to_the_sensor(
    tmp_path: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """202 with a queued request; the pointer has not moved."""
    promote_by_gate(tmp_path, warehouse, toy_bundle(0.3))
    second = promote_by_gate(tmp_path, warehouse, toy_bundle(0.9))
    with live(create_app(Settings.load(home=tmp_path, auth_required=False), LOADERS)) as client:
        store = type(open_model_store(tmp_path).objects)
        assert issubclass(store, ObjectStore)

        def refuse(*_arguments: object) -> str:
            raise StoreError("read-only now")

        monkeypatch.setattr(store, "swap", refuse)
        response = client.post("/models/accidents/rollback", json={"reason": "it is wrong"})
        assert response.status_code == 202
        request = work_request(warehouse, response.json()["id"])
        assert request is not None
        assert request["status"] == "queued"
        assert served_version(client) == second


@contextmanager
def audit_refused(warehouse: Warehouse) -> Iterator[None]:
    """The database rejects rows of the audit, like one with a full disk."""
    refuse = "CREATE TRIGGER full BEFORE INSERT ON promotions BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
    with warehouse.begin() as connection:
        connection.execute(text(refuse))
    yield
    with warehouse.begin() as connection:
        connection.execute(text("DROP TRIGGER full"))


def test_an_interrupted_rollback_is_completed_by_the_next_request(tmp_path: Path, warehouse: Warehouse) -> None:
    """202 while the audit cannot be written, although the pointer moved; requested again, that one's outcome: no second
    move, and the version left behind is blocked.
    """
    first = promote_by_gate(tmp_path, warehouse, toy_bundle(0.3))
    second = promote_by_gate(tmp_path, warehouse, toy_bundle(0.9))
    with live(create_app(Settings.load(home=tmp_path, auth_required=False), LOADERS)) as client:
        with audit_refused(warehouse):
            cut_off = client.post("/models/accidents/rollback", json={"reason": "it is wrong"})
            assert (cut_off.status_code, cut_off.json()["status"]) == (202, "queued")
        pointer = open_model_store(tmp_path).pointer("accidents")
        again = client.post("/models/accidents/rollback", json={"reason": "it is wrong"})
        assert (again.status_code, again.json()["status"]) == (200, "done"), again.text
        assert again.json()["outcome"] == f"rolled back from {second} to {first} by anonymous"
    assert open_model_store(tmp_path).pointer("accidents") == pointer
    (entry,) = (row for row in promotion_history(warehouse, "accidents") if row["action"] == "rollback")
    assert (entry["promoted"], entry["run_id"]) == (True, f"api:{cut_off.json()['id']}")
    assert rolled_back_versions(warehouse, "accidents") == [second]


def test_database_failure_prevents_the_rollback(tmp_path: Path, warehouse: Warehouse) -> None:
    """503 and the same champion: a rollback must be recorded first."""
    promote_by_gate(tmp_path, warehouse, toy_bundle(0.3))
    second = promote_by_gate(tmp_path, warehouse, toy_bundle(0.9))
    with live(create_app(Settings.load(home=tmp_path, auth_required=False, database_url=AWAY), LOADERS)) as client:
        response = client.post("/models/accidents/rollback", json={"reason": "it is wrong"})
        assert (response.status_code, response.json()["type"].split(":")[-1]) == (503, "warehouse-unavailable")
        assert served_version(client) == second


def test_command_line_with_a_failing_database(tmp_path: Path, warehouse: Warehouse, monkeypatch) -> None:
    """One line and an exit code, without a move and with an incomplete audit; a repetition completes it."""
    monkeypatch.setenv("ACCIDENT_RECO_HOME", str(tmp_path))
    first = promote_by_gate(tmp_path, warehouse, toy_bundle(0.3))
    second = promote_by_gate(tmp_path, warehouse, toy_bundle(0.9))
    monkeypatch.setenv("ACCIDENT_RECO_DATABASE_URL", AWAY)
    away = roll_back()
    (line,) = away.err.splitlines()
    assert away.exit_code == 1
    assert line.startswith("nothing moved: the warehouse postgresql+psycopg2://u:***@127.0.0.1:9/w failed: ")
    monkeypatch.delenv("ACCIDENT_RECO_DATABASE_URL")
    with audit_refused(warehouse):
        interrupted = roll_back()
    (line,) = interrupted.err.splitlines()
    assert interrupted.exit_code == 3
    assert line.startswith(f"rollback of accidents {first} is recorded but not complete (disk is full); ")
    repeated = roll_back()
    assert repeated.exit_code == 0
    assert repeated.out.startswith(f"rolled back from {second} to {first} by ")
    assert rolled_back_versions(warehouse, "accidents") == [second]
    monkeypatch.setenv("ACCIDENT_RECO_STORE_URL", "s3://bucket/prefix")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    lost = roll_back()
    (line,) = lost.err.splitlines()
    assert lost.exit_code == 1
    assert "check that AWS_ENDPOINT_URL answers" in line


def test_command_line(tmp_path: Path, warehouse: Warehouse, monkeypatch) -> None:
    """One line of output, exit codes for scripts; the reason is in the audit."""
    monkeypatch.setenv("ACCIDENT_RECO_HOME", str(tmp_path))
    nothing = roll_back()
    assert (nothing.exit_code, nothing.err) == (
        1,
        "no accidents version serves: there is nothing to roll back from\n",
    )
    first = promote_by_gate(tmp_path, warehouse, toy_bundle(0.3))
    earliest = roll_back()
    assert earliest.exit_code == 1
    assert "no earlier version" in earliest.err
    second = promote_by_gate(tmp_path, warehouse, toy_bundle(0.9))
    moved = roll_back("--json")
    assert moved.exit_code == 0
    assert moved.document["version"] == first
    assert moved.document["reason"].startswith(f"rolled back from {second} to {first} by ")
    assert moved.document["reason"].endswith(" (command line): it is wrong")
    assert promotion_history(warehouse, "accidents", limit=1)[0]["reason"] == moved.document["reason"]
    again = roll_back("--to", first)
    assert (again.exit_code, again.out) == (1, f"{first} serves already\n")
    assert roll_back("--to", second).exit_code == 0
    assert promote_by_gate(tmp_path, warehouse, toy_bundle(0.9)) == second
    assert accident_reco("rollback", "accidents", "--reason", "no").exit_code == 2
    assert accident_reco("rollback", "cats", "--reason", "it is wrong").exit_code == 2
