"""`/docs` in a real browser: login, a request to each service, no requests to other hosts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from accident_reco.launch.processes import free_port
from accident_reco.settings import Settings
from accident_reco_tests.support.accounts import running_auth
from accident_reco_tests.support.live import live
from accident_reco_tests.support.toy import LOADERS, promote, toy_bundle
from serving.drift.app import create_app as create_drift_app
from serving.predict.app import create_app

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def page() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no browser: install Debian's chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(20_000)
        yield page
        browser.close()


def try_out(page: Any, origin: str, password: str, operation: str, *values: str) -> str:
    """Log in on a service's page and send the example of an operation; returns the text of the response."""
    page.goto(f"{origin}/docs")
    page.click("button.authorize")
    page.fill("#oauth_username, input[name=username]", "admin")
    page.fill("#oauth_password, input[name=password]", password)
    page.locator(".auth-container", has_text="login").locator("button.authorize").first.click()
    page.wait_for_selector("text=Logout")
    page.locator("button.btn-done, button.close-modal").first.click()
    block = page.locator(".opblock", has_text=operation).first
    block.locator(".opblock-summary").first.click()
    block.locator("button.try-out__btn").click()
    for field, value in enumerate(values):
        block.locator(".parameters input[type=text]").nth(field).fill(value)
    block.locator("button.execute").click()
    answer = block.locator(".live-responses-table")
    answer.wait_for()
    assert answer.locator(".response-col_status").last.inner_text().startswith("200")
    return str(answer.inner_text())


@pytest.mark.e2e
def test_login_and_a_request_to_each_service(page: Any, tmp_path: Path) -> None:
    """Authorize with the admin's password and try an endpoint: 200, no error in the console, no other host."""
    predict_port, drift_port = free_port(), free_port()
    predict, drift = (f"http://127.0.0.1:{port}" for port in (predict_port, drift_port))
    requested: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    with running_auth(tmp_path, docs_origins=f"{predict},{drift}", auth_port=free_port()) as auth:
        promote(tmp_path, toy_bundle())
        settings = Settings.load(home=tmp_path, public_auth_url=auth.url)
        with (
            live(create_app(settings, LOADERS), port=predict_port),
            live(create_drift_app(settings), ready=False, port=drift_port),
        ):
            assert "any_grave_probability" in try_out(page, predict, auth.password, "/predict/accidents")
            assert "decisions" in try_out(page, drift, auth.password, "/history", "accidents")
            assert '"admin"' in try_out(page, auth.url, auth.password, "List accounts")
    hosts = {urlsplit(url).netloc for url in requested if urlsplit(url).scheme in ("http", "https")}
    assert hosts == {urlsplit(origin).netloc for origin in (predict, drift, auth.url)}
    assert errors == []


def test_the_page_has_no_other_hosts(tmp_path: Path) -> None:
    """Every address in the page is relative, and the policy names only the auth service."""
    with live(create_app(Settings.load(home=tmp_path), LOADERS), ready=False) as client:
        page = client.get("/docs")
        assert "//" not in page.text.replace("<!--", "").split("<script>")[0].replace("<!DOCTYPE html>", "")
        assert "http://127.0.0.1:7999" in page.headers["content-security-policy"]
        for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
            assert client.get(f"/docs/{asset}").status_code == 200
        for path in ("/docs/..%2fapp.py", "/docs/__init__.py", "/docs/%2e%2e", "/docs/x"):
            assert client.get(path).status_code == 404
        document = client.get("/openapi.json").json()
        assert document["components"]["securitySchemes"]["login"]["flows"]["password"]["tokenUrl"].endswith("/token")
        assert isinstance(client, httpx.Client)
