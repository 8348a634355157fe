"""The documentation site: it builds without a warning, finds dead links and orphans, and needs no other host."""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from accident_reco_tests.docs.pages import DOCS, configuration
from accident_reco_tests.docs.pictures import open_browser

QUIET = os.environ | {"NO_MKDOCS_2_WARNING": "1"}


def _build(config: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)]
    return subprocess.run(
        [*command, "--site-dir", str(target)], env=QUIET, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    target = tmp_path_factory.mktemp("site")
    built = _build(DOCS / "mkdocs.yml", target)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return target


class _Requests(HTMLParser):
    """Collects the addresses that a browser requests when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        names = ("src", "srcset", "poster", "data") if tag != "link" else ("href",)
        self.addresses += [value for name in names if (value := values.get(name))]
        self.addresses += re.findall(r"url\(([^)]+)\)", values.get("style") or "")


def test_no_page_requests_another_host(site: Path) -> None:
    """Scripts, styles, pictures and fonts of all pages are files of the site."""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 50
    foreign = []
    for page in pages:
        parser = _Requests()
        parser.feed(page.read_text(encoding="utf-8"))
        for address in parser.addresses:
            parts = urlsplit(address)
            if parts.netloc or (parts.scheme and parts.scheme != "data"):
                foreign.append((page.name, address))
    for sheet in site.rglob("*.css"):
        foreign += [
            (sheet.name, one) for one in re.findall(r"(?:url\(|@import )['\"]?(?:https?:)?//", sheet.read_text())
        ]
    assert foreign == []


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """The site on a local server."""
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.e2e
def test_search_in_a_browser(address: str) -> None:
    """Search finds a page, and the browser requests nothing from another host."""
    if shutil.which("chromium") is None:
        pytest.skip("no browser: install Debian's chromium")
    requested: list[str] = []
    errors: list[str] = []
    with open_browser() as browser:
        page = browser.new_page()
        page.on("request", lambda request: requested.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}/index.html")
        page.locator("input.md-search__input").click()  # loads the index
        page.locator("input.md-search__input").press_sequentially("hysteresis")
        found = page.locator(".md-search-result__item a").first
        found.wait_for()
        assert "retraining" in str(found.get_attribute("href")) or "glossary" in str(found.get_attribute("href"))
        for name in ("tutorials/first-run", "reference/contract"):
            page.goto(f"{address}/{name}.html")
            page.locator("h1").wait_for()
    hosts = {urlsplit(url).netloc for url in requested if urlsplit(url).scheme in ("http", "https", "ws", "wss")}
    assert hosts == {urlsplit(address).netloc}
    assert errors == []


FAULTS = {
    "page.md": "# Page\n\n[link](nowhere.md), [anchor](index.md#nowhere), ![picture](nowhere.png)\n",
    "orphan.md": "# Orphan\n",
    "index.md": "# Home\n",
}


def test_faults_fail_the_build(tmp_path: Path) -> None:
    """With the site's own rules of validation dead links and anchors, missing pictures and orphans are errors."""
    (tmp_path / "pages").mkdir()
    for name, text in FAULTS.items():
        (tmp_path / "pages" / name).write_text(text)
    rules = {"validation": configuration()["validation"], "nav": ["index.md", "page.md"]}
    config = {"site_name": "faults", "docs_dir": "pages", "theme": {"name": "mkdocs"}, "plugins": [], **rules}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
    built = _build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert built.returncode != 0
    assert "contains a link 'nowhere.md'" in built.stderr
    assert "does not contain an anchor '#nowhere'" in built.stderr
    assert "contains a link 'nowhere.png'" in built.stderr
    assert re.search(r"not included in the .nav. configuration:\s+- orphan\.md", built.stderr)
    assert built.stderr.count("WARNING") == 4
