"""`/docs` in a real browser: it logs in, it predicts, and it talks to nobody but the two services."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from accident_reco.settings import Settings
from accident_reco_tests.serving.accounts import running_auth
from accident_reco_tests.serving.live import live
from accident_reco_tests.serving.toy import LOADERS, promote, toy_bundle
from serving.predict.app import create_app

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture
def page() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no browser at hand: install Debian's chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(20_000)
        yield page
        browser.close()


@pytest.mark.stack
def test_a_person_logs_in_and_predicts(page: Any, tmp_path: Path) -> None:
    """Authorize with the admin's password, try the endpoint out, see 200 and the answer."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    origin = f"http://127.0.0.1:{port}"
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    with running_auth(tmp_path, docs_origins=origin) as auth:
        promote(tmp_path, toy_bundle())
        settings = Settings(home=tmp_path, public_auth_url=auth.url)
        with live(create_app(settings, LOADERS), port=port):
            page.goto(f"{origin}/docs")
            page.click("button.authorize")
            page.fill("#oauth_username, input[name=username]", "admin")
            page.fill("#oauth_password, input[name=password]", auth.password)
            page.locator(".auth-container", has_text="login").locator("button.authorize").first.click()
            page.wait_for_selector("text=Logout")
            page.locator("button.btn-done, button.close-modal").first.click()
            operation = page.locator(".opblock", has_text="/predict/accidents").first
            operation.locator(".opblock-summary").click()
            operation.locator("button.try-out__btn").click()
            operation.locator("button.execute").click()
            answer = operation.locator(".live-responses-table")
            answer.wait_for()
            assert answer.locator(".response-col_status").last.inner_text().startswith("200")
            assert "any_grave_probability" in answer.inner_text()
            hosts = {urlsplit(url).netloc for url in asked if urlsplit(url).scheme in ("http", "https")}
            assert hosts == {urlsplit(origin).netloc, urlsplit(auth.url).netloc}
            assert complaints == []


def test_the_page_needs_nobody_else(tmp_path: Path) -> None:
    """Without a browser: every address in the page is relative, and the policy names only the auth service."""
    with live(create_app(Settings(home=tmp_path), LOADERS), ready=False) as client:
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
