"""A rollback that is requested while S3 is down must be queued, as the endpoint documents."""

from __future__ import annotations

from pathlib import Path

import pytest
import s3fs

from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import work_request
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.toy import LOADERS, promote, toy_bundle
from serving.predict.app import create_app


@pytest.mark.xfail(strict=True, reason="the versions are looked up in the store before the request is queued: 503")
def test_rollback_is_queued_while_the_store_is_down(
    tmp_path: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 is unreachable: the champion serves from the cache, and the request waits for the sensor."""
    first = promote(tmp_path, toy_bundle(0.3)).version
    second = promote(tmp_path, toy_bundle(0.9)).version
    with live(create_app(Settings.load(home=tmp_path, auth_required=False), LOADERS)):
        pass  # fills the cache
    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load(home=tmp_path, store_url="s3://artifacts/platform", auth_required=False)
    with live(create_app(settings, LOADERS)) as client:
        wait_for(lambda: client.get("/models").json()[0]["champion"] == second)
        for body in ({"reason": "it is wrong"}, {"reason": "it is wrong", "version": first}):
            response = client.post("/models/accidents/rollback", json=body, timeout=60)
            assert response.status_code == 202, response.text
            request = work_request(warehouse, response.json()["id"])
            assert request is not None
            assert (request["status"], request["detail"]["version"]) == ("queued", first)
