"""The signed link to an HTML drift report, over real HTTP with authentication on."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from accident_reco.settings import Settings
from accident_reco.storage import drift_reports
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.accounts import PASSWORD, Auth
from accident_reco_tests.support.drift_rows import build_report_row
from accident_reco_tests.support.live import live
from serving.drift.app import create_app

URL = "/monitoring/drift/accidents/report"
FIRST, SECOND = "a" * 32, "b" * 32


@pytest.fixture(scope="module")
def drift(auth: Auth) -> Iterator[httpx.Client]:
    """The drift service with two reports."""
    settings = Settings.load(home=auth.settings.home, public_auth_url=auth.url)
    store, warehouse = open_store(settings.store), Warehouse(settings.database)
    for report_id in (FIRST, SECOND):
        key = f"reports/drift/accidents/{report_id}.html"
        store.write(key, f"<p>report {report_id}</p>".encode())
        drift_reports.save_report(warehouse, build_report_row(id=report_id, report_key=key))
    with live(create_app(settings)) as client:
        yield client
    warehouse.close()


@pytest.fixture(scope="module")
def link(drift: httpx.Client, auth: Auth) -> str:
    """A link to the first report, without the service's address."""
    answer = drift.get(f"{URL}/link", params={"id": FIRST}, headers=auth.headers("ada", PASSWORD)).json()
    assert answer["url"].startswith(f"http://127.0.0.1:8001{URL}?id={FIRST}&")
    return str(answer["url"]).removeprefix("http://127.0.0.1:8001")


def test_a_link_opens_its_report_without_a_token(drift: httpx.Client, link: str) -> None:
    """As a browser opens it; the page has its policy."""
    page = drift.get(link)
    assert (page.status_code, page.text) == (200, f"<p>report {FIRST}</p>")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    "change",
    [
        lambda link: link.replace(FIRST, SECOND),
        lambda link: link.replace("/accidents/", "/movies/"),
        lambda link: link[:-1] + ("0" if link[-1] != "0" else "1"),
        lambda link: link.replace("expires=", "expires=9"),
        lambda link: link.replace(f"id={FIRST}&", ""),
        lambda link: f"{link}&id={SECOND}",
        lambda link: f"{link}&signature=0",
    ],
    ids=["other-report", "other-model", "signature", "expiry", "latest", "two-ids", "two-signatures"],
)
def test_a_changed_link_opens_nothing(drift: httpx.Client, link: str, change) -> None:
    """403 with the next step, even for the report that is the latest."""
    answer = drift.get(change(link))
    assert answer.status_code == 403
    assert answer.json()["type"].endswith("invalid-link")
    assert "Open it again from the console" in answer.json()["detail"]


def test_a_link_grants_its_page_only(drift: httpx.Client, link: str) -> None:
    """No other endpoint accepts a signature, and links are made for who may read reports."""
    query = link.partition("?")[2]
    for path in ("/monitoring/drift/accidents", f"{URL}/link", "/monitoring/drift/accidents/history"):
        assert drift.get(f"{path}?{query}").status_code == 401, path
    assert drift.get(URL).status_code == 401


def test_links_need_a_report_and_the_scope(drift: httpx.Client, auth: Auth) -> None:
    """Without the scope 403; without a report 404; a lifetime beyond an hour 422."""
    headers = auth.headers("ada", PASSWORD)
    assert drift.get(f"{URL}/link", headers=auth.headers("ada", PASSWORD, scope="predict")).status_code == 403
    assert drift.get(f"{URL}/link", params={"id": "c" * 32}, headers=headers).status_code == 404
    assert drift.get(f"{URL}/link", params={"minutes": 61}, headers=headers).status_code == 422
