"""A store that fails while the platform runs: predictions come from the verified cache, drift verdicts are kept."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import s3fs

from accident_reco.drift import html_report_store
from accident_reco.drift.run_check import CheckRequest, run_check
from accident_reco.launch.processes import LOOPBACK, Children
from accident_reco.lifecycle.platform import OpenedPlatform
from accident_reco.lifecycle.store import ModelStore
from accident_reco.models.accidents.model import MODEL
from accident_reco.settings import Settings
from accident_reco.storage import drift_reports
from accident_reco.storage.objects import StoreError, open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.e2e.conftest import S3, start_s3
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.small_loop import promote as promote_profile
from accident_reco_tests.support.small_loop import traffic
from accident_reco_tests.support.toy import LOADERS, toy_bundle
from serving.predict.app import create_app

pytestmark = pytest.mark.e2e


@contextmanager
def predict(home: Path, store_url: str, ready: bool = True) -> Iterator[httpx.Client]:
    """A new predict service with the cache of `home`."""
    s3fs.S3FileSystem.clear_instance_cache()
    settings = Settings.load(home=home, store_url=store_url, auth_required=False, log_predictions=False)
    with live(create_app(settings, LOADERS), ready) as client:
        yield client


def promote(store_url: str) -> str:
    """Promote a version on S3; returns its id."""
    models = ModelStore(open_store(store_url))
    manifest = models.write(toy_bundle())
    return models.point(manifest, expected=models.pointer("accidents"), run_id="r", reason="first").version


def state(client: httpx.Client) -> dict[str, str]:
    """The model's part of the readiness document."""
    status: dict[str, str] = client.get("/readyz").json()["models"]["accidents"]
    return status


def _emptied(store_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    store = open_store(store_url)
    for key in store.list():
        store.delete(key)
    return f"production.json is missing in {store_url}"


def _pointer_cut_off(store_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    open_store(store_url).write("models/accidents/production.json", b'{"version":')
    return "production.json is damaged"


def _manifest_gone(store_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    store = open_store(store_url)
    (manifest,) = (key for key in store.list("models") if key.endswith("manifest.json"))
    store.delete(manifest)
    return "has no version"


def _keys_refused(store_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    return "AWS_SECRET_ACCESS_KEY"


def _nothing_listens(store_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{LOOPBACK}:1")
    return "check that AWS_ENDPOINT_URL answers"


@pytest.mark.parametrize("fault", [_emptied, _pointer_cut_off, _manifest_gone, _keys_refused, _nothing_listens])
def test_predict_restarts_on_a_faulty_store_and_serves_from_its_cache(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[str, pytest.MonkeyPatch], str]
) -> None:
    """Whatever the fault of S3: the cached version serves, and the readiness document has the reason."""
    version = promote(store_url)
    with predict(tmp_path, store_url) as client:
        assert state(client)["state"] == "serving"
    message = fault(store_url, monkeypatch)
    with predict(tmp_path, store_url, ready=False) as client:
        wait_for(lambda: message in state(client).get("problem", ""), 60)
        status = state(client)
        assert (status["state"], status["version"], status["origin"]) == ("degraded", version, "cache")
        assert client.get("/readyz").status_code == 200
        assert client.post("/predict/accidents", json={"records": [{"catu": 1}]}).status_code == 200
    with predict(tmp_path / "first-start", store_url, ready=False) as client:
        wait_for(lambda: state(client)["state"] == "none", 60)
        assert client.get("/readyz").status_code == 503
        assert state(client).get("problem") or state(client).get("reason")


def test_missing_bucket(store_url: str, tmp_path: Path) -> None:
    """The same with the name of another bucket."""
    promote(store_url)
    with predict(tmp_path, store_url):
        pass
    with predict(tmp_path, store_url.replace("artifacts", "nowhere"), ready=False) as client:
        wait_for(lambda: state(client)["state"] == "degraded", 60)
        assert "create the bucket nowhere" in state(client)["problem"]


def test_store_that_accepts_and_never_answers(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits minutes for a silent server; the cache serves after two seconds."""
    version = promote(store_url)
    with predict(tmp_path, store_url):
        pass
    with socket.create_server((LOOPBACK, 0), backlog=64) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{LOOPBACK}:{silent.getsockname()[1]}")
        with predict(tmp_path, store_url) as client:
            status = state(client)
            assert (status["state"], status["version"]) == ("degraded", version)
            assert "did not respond within" in status["problem"]


def test_verdict_is_kept_if_the_store_fails_before_the_html(
    children: Children, stack_folder: Path, warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 stops between verdict and HTML: the row is stored with the reason; the next check writes both reports."""
    s3: S3 = start_s3(children, stack_folder / "s3-drift")
    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load(home=tmp_path, store_url="s3://artifacts/drift", drift_sample_rows=0)
    objects = open_store(settings.store)
    platform = SimpleNamespace(warehouse=warehouse, models=ModelStore(objects))
    promote_profile(platform, 1)
    traffic(platform, shift=1)
    render = html_report_store.render_html_report

    def render_and_stop_the_store(*arguments: object) -> bytes:
        children.kill("s3")
        return render(*arguments)

    monkeypatch.setattr(html_report_store, "render_html_report", render_and_stop_the_store)
    row = run_check(MODEL, OpenedPlatform(settings, warehouse), CheckRequest(), "run").row
    monkeypatch.setattr(html_report_store, "render_html_report", render)
    kept = drift_reports.latest_report(warehouse, "accidents")
    assert (kept["id"], kept["status"], kept["report_key"]) == (row["id"], "drift", None)
    assert "could not be written" in kept["document"]["page_problem"]

    start_s3(children, stack_folder / "s3-drift", like=s3)
    wait_for(
        lambda: _is_readable(lambda: platform.models.champion("accidents") is not None), 20
    )  # it answers before its volumes are online
    run_check(MODEL, OpenedPlatform(settings, warehouse), CheckRequest(), "run")
    for report in drift_reports.reports(warehouse, "accidents"):
        assert report["document"]["page_problem"] is None
        assert b'<section class="verdict red">' in objects.read(report["report_key"])
    children.kill("s3")


def _is_readable(read: Callable[[], bool]) -> bool:
    try:
        return read()
    except StoreError:
        return False
