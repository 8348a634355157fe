"""A rollback that is requested while S3 is down must be queued, as the endpoint documents."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import s3fs

from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import open_requests, work_request
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.promotion import promote_by_gate, roll_back
from accident_reco_tests.support.toy import LOADERS, promote, toy_bundle
from serving.predict.app import create_app


def fill_cache(home: Path) -> None:
    """Serve once with the store, so that the champion is in the cache."""
    with live(create_app(Settings.load(home=home, auth_required=False), LOADERS)):
        pass


def settings_of_lost_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a store on S3 that nothing serves."""
    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    return Settings.load(home=home, store_url="s3://artifacts/platform", auth_required=False)


def request_rollback(client: httpx.Client, **body: str) -> httpx.Response:
    return client.post("/models/accidents/rollback", json={"reason": "it is wrong", **body}, timeout=60)


def test_rollback_is_queued_while_the_store_is_down(
    tmp_path: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 is unreachable: the champion serves from the cache, and the request waits for the sensor."""
    first = promote(tmp_path, toy_bundle(0.3)).version
    second = promote(tmp_path, toy_bundle(0.9)).version
    fill_cache(tmp_path)
    with live(create_app(settings_of_lost_store(tmp_path, monkeypatch), LOADERS)) as client:
        wait_for(lambda: client.get("/models").json()[0]["champion"] == second)
        for body in ({}, {"version": first}):
            response = request_rollback(client, **body)
            assert response.status_code == 202, response.text
            request = work_request(warehouse, response.json()["id"])
            assert request is not None
            assert (request["status"], request["detail"]) == ("queued", {"version": first, "replaces": second})


def test_queued_rollback_skips_versions_that_were_rolled_back(
    tmp_path: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third version was rolled back, the second serves: the request is for the first."""
    monkeypatch.setenv("ACCIDENT_RECO_HOME", str(tmp_path))
    first, second, third = (promote_by_gate(tmp_path, warehouse, toy_bundle(weight)) for weight in (0.3, 0.6, 0.9))
    assert len({first, second, third}) == 3
    assert roll_back().exit_code == 0
    fill_cache(tmp_path)
    with live(create_app(settings_of_lost_store(tmp_path, monkeypatch), LOADERS)) as client:
        wait_for(lambda: client.get("/models").json()[0]["champion"] == second)
        response = request_rollback(client)
        assert response.status_code == 202, response.text
        request = work_request(warehouse, response.json()["id"])
        assert request is not None
        assert request["detail"]["version"] == first


def test_nothing_is_queued_where_no_earlier_version_exists(
    tmp_path: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """409 as with the store, for the first version ever promoted."""
    promote_by_gate(tmp_path, warehouse, toy_bundle(0.3))
    fill_cache(tmp_path)
    with live(create_app(settings_of_lost_store(tmp_path, monkeypatch), LOADERS)) as client:
        response = request_rollback(client)
    assert (response.status_code, response.json()["type"].split(":")[-1]) == (409, "nothing-to-roll-back-to")
    assert open_requests(warehouse, "rollback") == []


def test_stale_cache_needs_a_named_version(
    tmp_path: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version was promoted after the cached one: no version is guessed to be the earlier one, a named one is queued.

    The latest other version in the audit is the newer one here, to which a rollback would go forward.
    """
    first = promote_by_gate(tmp_path, warehouse, toy_bundle(0.3))
    second = promote_by_gate(tmp_path, warehouse, toy_bundle(0.6))
    fill_cache(tmp_path)
    third = promote_by_gate(tmp_path, warehouse, toy_bundle(0.9))
    with live(create_app(settings_of_lost_store(tmp_path, monkeypatch), LOADERS)) as client:
        wait_for(lambda: client.get("/models").json()[0]["champion"] == second)
        response = request_rollback(client)
        assert (response.status_code, response.json()["type"].split(":")[-1]) == (503, "store-down")
        assert f"{second} serves here while {third} was promoted last" in response.json()["detail"]
        assert open_requests(warehouse, "rollback") == []
        for version in (first, second):
            response = request_rollback(client, version=version)
            assert response.status_code == 202
            request = work_request(warehouse, response.json()["id"])
            assert request is not None
            assert request["detail"] == {"version": version, "replaces": third}
